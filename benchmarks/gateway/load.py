"""A closed-loop load generator: N kept-alive connections, each sends its next request after the answer
(`pause` seconds after it).

Usage: python -m benchmarks.gateway.load  (a JSON job on standard input; a JSON result on standard output)
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httptools
import uvloop


class Client(asyncio.Protocol):
    """One connection. Latencies, first-byte times and chunk counts go to ``result``."""

    def __init__(self, job: dict[str, Any], request: bytes, result: dict[str, Any]) -> None:
        self.job, self.request, self.result = job, request, result
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpResponseParser(self)
        self.send()

    def send(self) -> None:
        if time.perf_counter() >= self.job["until"]:
            self.transport.close()
            return
        self.first, self.started = 0.0, time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter()
        self.result["chunks"] += data.count(b"data: ")

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        status = self.parser.get_status_code()
        self.result["statuses"][status] = self.result["statuses"].get(status, 0) + 1
        self.result["latencies"].append(now - self.started)
        self.result["firsts"].append(self.first - self.started)
        self.parser = httptools.HttpResponseParser(self)
        if self.job["pause"]:
            asyncio.get_running_loop().call_later(self.job["pause"], self.send)
        else:
            self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def main(job: dict[str, Any]) -> dict[str, Any]:
    """Run the job: port, connections, seconds, body, headers (one for each connection, or one for all)."""
    result: dict[str, Any] = {"chunks": 0, "statuses": {}, "latencies": [], "firsts": []}
    body = json.dumps(job["body"], separators=(",", ":")).encode()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    job["until"] = started + job["seconds"]
    clients = []
    for number in range(job["connections"]):
        bearer = job["tokens"][number % len(job["tokens"])]
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {bearer}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        make = Client(job, head + body, result)
        clients.append(make)
        await loop.create_connection(lambda make=make: make, "127.0.0.1", job["port"])
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), job["seconds"] + 120)
    seconds = time.perf_counter() - started
    latencies, firsts = sorted(result["latencies"]), sorted(result["firsts"])
    return {
        "seconds": seconds,
        "requests": len(latencies),
        "statuses": result["statuses"],
        "chunks": result["chunks"],
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
        "first": firsts[len(firsts) // 2],
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(json.load(sys.stdin)))))
