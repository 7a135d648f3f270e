"""The local serverless platform: scales from and to zero, keeps its limits, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from harness.waiting import wait_until
from tests.mortal import spawn
from tests.pg_fixture import free_port

ROOT = Path(__file__).parents[2]
KEY = "platform-key-of-the-test"


@dataclass
class Platform:
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    fail_file: Path

    def ask(self, what: str, key: str = KEY, timeout: float = 20, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": what}]},
            headers={"Authorization": f"Bearer {key}", **headers},
            timeout=timeout,
            trust_env=False,
        )

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/health", timeout=30, trust_env=False).json()
        return found

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def lines(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def wait_for_workers(self, count: int, seconds: float = 5) -> None:
        wait_until(f"{count} workers", lambda: self.health()["workers"]["total"] == count, seconds=seconds)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[subprocess.Popen[bytes]] = []

    def run(**changes: Any) -> Platform:
        port = free_port()
        fail = tmp_path / "fail"
        worker = {
            "argv": [sys.executable, str(ROOT / "tests" / "fake_worker.py"), "{port}"],
            "key_variable": "WORKER_KEY",
            "model": "fake",
            "environment": {"FAIL_FILE": str(fail)},
            "log": str(tmp_path / "worker.log"),
            "probe_seconds": 0.5,
            **changes.pop("worker", {}),
        }
        settings = {
            "port": port,
            "idle_seconds": 0.3,
            "max_workers": 1,
            "concurrency": 2,
            "execution_timeout_seconds": 1.0,
            **changes,
            "worker": worker,
        }
        file = tmp_path / "platform.yaml"
        file.write_text(yaml.safe_dump(settings))
        log = tmp_path / "platform.log"
        argv = [sys.executable, "-m", "inference.serverless", "--config", str(file)]
        environment = {**os.environ, "SERVERLESS_API_KEY": KEY}
        with log.open("wb") as out:
            process = spawn(argv, env=environment, cwd=ROOT, stdout=out, stderr=out)
        started.append(process)
        platform = Platform(f"http://127.0.0.1:{port}", process, log, fail)
        wait_until("up", platform.health, seconds=10, errors=(httpx.TransportError,))
        return platform

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_it_scales_from_zero_and_back(start: Any) -> None:
    platform = start()
    assert platform.health()["workers"]["total"] == 0
    assert not platform.workers()
    first = platform.ask("who").json()["pid"]
    assert [worker.pid for worker in platform.workers()] == [first]
    assert platform.ask("who").json()["pid"] == first
    platform.wait_for_workers(0)
    assert not psutil.pid_exists(first)
    assert platform.ask("who").json()["pid"] != first
    assert platform.health()["jobs"]["completed"] == 3


def test_health_is_open_and_wakes_nobody_and_all_else_demands_the_key(start: Any) -> None:
    platform = start()
    for path in ("/endpoint", "/v1/models", "/v1/chat/completions", "/", "/nothing", "/health/"):
        for method in ("GET", "POST"):
            answer = httpx.request(method, platform.url + path, timeout=30, trust_env=False)
            assert answer.status_code == 401, path
    assert platform.ask("who", key=KEY + "x").status_code == 401
    assert platform.health()["workers"]["total"] == 0
    assert KEY not in platform.log.read_text()


def test_workers_have_keys_of_their_own_and_never_see_the_platforms(start: Any) -> None:
    platform = start()
    assert platform.ask("who").json()["leaked"] is False
    (worker,) = platform.workers()
    assert KEY not in " ".join([*worker.cmdline(), *worker.environ().values()])


def test_streams_arrive_chunk_by_chunk(start: Any) -> None:
    platform = start()
    platform.ask("who")
    arrived: list[float] = []
    with httpx.stream(
        "POST",
        f"{platform.url}/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "stream 3 0.2"}]},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=30,
        trust_env=False,
    ) as response:
        text = ""
        for chunk in response.iter_text():
            arrived.append(time.monotonic())
            text += chunk
    assert text == "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert arrived[-1] - arrived[0] > 0.3


def test_a_burst_keeps_to_workers_and_concurrency(start: Any) -> None:
    platform = start(max_workers=2, execution_timeout_seconds=10)
    most, over = {"workers": 0, "jobs": 0, "queued": 0}, threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen = platform.health()
            most["workers"] = max(most["workers"], seen["workers"]["total"], len(platform.workers()))
            most["jobs"] = max(most["jobs"], seen["jobs"]["inProgress"])
            most["queued"] = max(most["queued"], seen["jobs"]["inQueue"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(9) as pool:
        statuses = list(pool.map(lambda _: platform.ask("sleep 0.2").status_code, range(9)))
    over.set()
    watcher.join()
    assert statuses == [200] * 9
    assert most["workers"] == 2
    assert most["jobs"] == 4
    assert most["queued"] >= 1


def test_a_full_queue_refuses(start: Any) -> None:
    platform = start(concurrency=1, queue_limit=1)
    platform.ask("who")
    with ThreadPoolExecutor(3) as pool:
        statuses = sorted(pool.map(lambda _: platform.ask("sleep 0.5").status_code, range(3)))
    assert statuses == [200, 200, 429]


def test_a_long_job_is_aborted_once_and_the_worker_stays(start: Any) -> None:
    platform = start(idle_seconds=5)
    pid = platform.ask("who").json()["pid"]
    began = time.monotonic()
    answer = platform.ask("sleep 30", **{"X-Request-ID": "long-one"})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "execution_timeout"
    assert 1.0 <= time.monotonic() - began < 20
    assert platform.ask("who").json()["pid"] == pid
    assert [line["request_id"] for line in platform.lines("job")].count("long-one") == 1
    assert platform.health()["jobs"]["failed"] == 1


def test_a_caller_may_shorten_its_time_but_not_lengthen_it(start: Any) -> None:
    platform = start(execution_timeout_seconds=3.0)
    platform.ask("who")
    for wanted, least, most in (("200", 0.2, 2.9), ("60000", 3.0, 20)):
        began = time.monotonic()
        assert platform.ask("sleep 30", **{"X-Execution-Timeout-Ms": wanted}).status_code == 504
        assert least <= time.monotonic() - began < most


def test_a_stream_that_is_cut_cannot_be_taken_for_whole(start: Any) -> None:
    platform = start()
    with pytest.raises(httpx.RemoteProtocolError):
        platform.ask("stream 100 0.1")
    wait_until("logged", lambda: platform.lines("job"), seconds=30)
    assert platform.lines("job")[0]["timed_out"] is True


def test_a_client_that_goes_away_frees_its_place(start: Any) -> None:
    platform = start(concurrency=1, execution_timeout_seconds=30)
    platform.ask("who")
    with pytest.raises(httpx.ReadTimeout):
        platform.ask("sleep 20", timeout=0.3)
    began = time.monotonic()
    assert platform.ask("who").status_code == 200
    assert time.monotonic() - began < 15
    wait_until("logged", lambda: platform.lines("job")[1:2], seconds=30)
    assert platform.lines("job")[1]["status"] == "cancelled"


def test_a_crash_fails_its_job_alone_and_the_worker_is_replaced(start: Any) -> None:
    platform = start()
    pid = platform.ask("who").json()["pid"]
    answer = platform.ask("crash")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "worker_lost"
    assert platform.ask("who").json()["pid"] != pid
    assert platform.lines("worker_lost")[0]["exit_code"] == 7


def test_a_hung_worker_is_killed_and_replaced(start: Any) -> None:
    platform = start()
    pid = platform.ask("who").json()["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert platform.ask("who").status_code == 504
    assert platform.ask("who").json()["pid"] != pid
    assert not psutil.pid_exists(pid)
    assert platform.lines("worker_hung")[0]["worker"] == pid


def test_workers_that_never_come_up_are_given_up(start: Any) -> None:
    platform = start()
    platform.fail_file.touch()
    answer = platform.ask("who")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_worker"
    assert len(platform.lines("worker_starting")) == 3
    platform.fail_file.unlink()
    assert platform.ask("who").status_code == 200


def test_sigterm_stops_the_workers_too(start: Any) -> None:
    platform = start()
    pid = platform.ask("who").json()["pid"]
    platform.process.terminate()
    assert platform.process.wait(10) == 0
    assert not psutil.pid_exists(pid)


def test_workers_die_with_a_platform_that_is_killed(start: Any) -> None:
    platform = start()
    pid = platform.ask("who").json()["pid"]
    platform.process.kill()
    wait_until("the worker is gone", lambda: not _alive(pid), seconds=30)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_logs_are_json_without_content(start: Any) -> None:
    platform = start()
    platform.ask("who s3ntinel-prompt")
    text = platform.log.read_text()
    assert "s3ntinel" not in text
    for line in text.splitlines():
        assert {"ts", "level", "event"} <= json.loads(line).keys()
