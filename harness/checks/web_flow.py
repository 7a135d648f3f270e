"""WEB-3 and WEB-4: where the web app's requests arrive, how answers come back, where its errors go."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import httpx

from harness.checks.base import Effect, check
from harness.checks.web_bytes import compiled_in, crawl
from harness.errors import DeadlineExceeded, NoProvider
from harness.evidence import Evidence, Finding, judge, refuted
from harness.providers import web_build
from harness.providers.base import LogReader
from harness.providers.error_tracking import error_tracker
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["errors_reported", "reaches_gateway", "streams"]

_ANSWER_SECONDS = 30.0
_LOG_SECONDS = 8.0
_EVENT_SECONDS = 10.0
_GATEWAY_URL = "set GATEWAY_URL of the web app to gateway.url of this environment, and restart it"


def _ask(
    stack: Stack, user: str, identifier: str, tokens: int
) -> tuple[httpx.Response, list[float], bytes]:
    """One chat through the web app; the response, when each piece of it came, and its bytes."""
    url = stack.environment.web.url
    body = {
        "mode": "instant",
        "max_tokens": tokens,
        "messages": [{"role": "user", "content": "Count from one to twenty."}],
    }
    token = stack.identities.token(user).reveal()
    headers = {"authorization": f"Bearer {token}", "x-request-id": identifier}
    started, pieces, content = time.monotonic(), [], b""
    with stack.http(url).stream(
        "POST", "/api/chat", json=body, headers=headers, timeout=_ANSWER_SECONDS
    ) as answer:
        for piece in answer.iter_raw():
            pieces.append(time.monotonic() - started)
            content += piece
    return answer, pieces, content


@check(
    "web.reaches-gateway", component="web", needs=("supabase", "instant", "gateway"), effect=Effect.PLANTS
)
def reaches_gateway(stack: Stack) -> Evidence:
    """A request made through the web app arrives at this environment's gateway, and no other."""
    web, gateway = stack.environment.web.url, stack.environment.gateway.url
    identifier, wanted = f"web3-{uuid.uuid4()}", stack.environment.environment
    log = _GatewayLog(stack)
    answer, _, content = _ask(stack, "web-route", identifier, tokens=1)
    where, findings = f"POST {web}/api/chat", []
    if answer.status_code != 200:
        seen = f"{answer.status_code}: {content.decode(errors='replace')[:200]}"
        findings.append(Finding("200", seen, where, _GATEWAY_URL))
    for name, value in (("x-gateway-environment", wanted), ("x-request-id", identifier)):
        if answer.headers.get(name) != value:
            findings.append(
                Finding(f"{name}: {value}", f"{name}: {answer.headers.get(name)}", where, _GATEWAY_URL)
            )
    told = stack.http(web).get("/api/health").json()["gateway"]
    if told.get("host") != urlsplit(gateway).netloc:
        findings.append(
            Finding(gateway, f"{told.get('host')}", f"{web}/api/health (gateway)", _GATEWAY_URL)
        )
    findings += log.findings(identifier, wanted)
    summary = f"request {identifier} arrived at {gateway} ({log.proof})"
    return judge(summary, findings, request_id=identifier, proof=log.proof)


class _GatewayLog:
    """The gateway's log from now on, in environments whose logs can be read."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.environment.gateway.url
        self._logs: LogReader | None = None
        try:
            self._logs = stack.logs
        except NoProvider:
            # the gateway's own headers are what is left; the evidence says which proof it rests on
            self.proof = "by its response headers; its log cannot be read here"
        else:
            self._mark, self.proof = self._logs.mark("gateway"), "found in its log"

    def findings(self, identifier: str, environment: str) -> list[Finding]:
        """What is wrong with the line that the gateway wrote about the request."""
        if self._logs is None:
            return []
        where = f"log of the gateway at {self._url}"
        try:
            entry = wait_until(
                "the request in the log", lambda: self._entry(identifier), seconds=_LOG_SECONDS
            )
        except DeadlineExceeded:
            return [Finding(f"request {identifier}", "no line with this request id", where, _GATEWAY_URL)]
        if entry.get("environment") != environment:
            return [
                Finding(f"environment {environment}", f"{entry.get('environment')}", where, _GATEWAY_URL)
            ]
        return []

    def _entry(self, identifier: str) -> dict[str, Any] | None:
        for line in self._logs.lines("gateway", self._mark) if self._logs else ():
            if identifier in line:
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("request_id") == identifier:
                    return entry
        return None


@check("web.streams", component="web", needs=("supabase", "instant", "gateway"), effect=Effect.PLANTS)
def streams(stack: Stack) -> Evidence:
    """An answer is shown as it is written: it comes through the web app in pieces, not all at once."""
    url = stack.environment.web.url
    answer, pieces, content = _ask(stack, "web-stream", f"webs-{uuid.uuid4()}", tokens=16)
    where, fix = f"POST {url}/api/chat", "look for a buffer between the gateway and the reader"
    kind, findings = answer.headers.get("content-type", "none"), []
    if answer.status_code != 200 or "text/event-stream" not in kind:
        seen = f"{answer.status_code} {kind}: {content.decode(errors='replace')[:200]}"
        return refuted("no stream", Finding("200 text/event-stream", seen, where, "see the gateway's log"))
    events = [line for line in content.decode().splitlines() if line.startswith("data:")]
    if not events or events[-1] != "data: [DONE]":
        last = events[-1][:80] if events else "nothing"
        findings.append(Finding("a stream that ends with [DONE]", last, where, "see the gateway's log"))
    if len(pieces) < min(4, len(events)) or len(events) < 4:
        seen = f"{len(events)} events in {len(pieces)} pieces"
        findings.append(Finding("events one after another", seen, where, fix))
    first, total = round(pieces[0] * 1000), round(pieces[-1] * 1000)
    summary = f"{len(events)} events in {len(pieces)} pieces; the first after {first} ms of {total} ms"
    return judge(summary, findings, first_ms=first, total_ms=total, events=len(events))


@check("web.errors-reported", component="web", effect=Effect.PLANTS)
def errors_reported(stack: Stack) -> Evidence:
    """An error arrives at the error tracker with this release and environment, and without a token."""
    tracker, url = error_tracker(stack), stack.environment.web.url
    try:
        mark = tracker.mark()
    except httpx.TransportError as error:
        what = f"{type(error).__name__}: nothing takes errors"
        return refuted("errors go nowhere", Finding("a listening tracker", what, tracker.where, "start it"))
    marker = uuid.uuid4().hex
    planted = f"web4-{uuid.uuid4().hex}@example.org"
    answer = stack.http(url).post(
        "/api/errors/test", params={"token": planted}, headers=_probe(stack, marker, planted)
    )
    if answer.status_code != 500:
        finding = Finding(
            "500", str(answer.status_code), f"POST {url}/api/errors/test", "compare web.probe_token"
        )
        return refuted("the web app did not throw", finding)

    def arrived() -> dict[str, Any] | None:
        return next((event for event in tracker.since(mark) if marker in json.dumps(event)), None)

    try:
        event = wait_until("the error at the tracker", arrived, seconds=_EVENT_SECONDS)
    except DeadlineExceeded:
        seen = f"no event with the marker {marker} within {_EVENT_SECONDS:g} s"
        return refuted("not reported", Finding("the thrown error", seen, tracker.where, "compare the DSN"))
    findings = [*_event_findings(stack, event, planted, tracker.where), *_browser_findings(stack)]
    summary = (
        f"error {marker} arrived at {tracker.where} as {event.get('release')} in {event.get('environment')}"
    )
    return judge(summary, findings, marker=marker, release=event.get("release"))


def _probe(stack: Stack, marker: str, planted: str) -> dict[str, str]:
    """Headers that make the app throw; with a token and an address that must not be reported."""
    token = stack.identities.token("web-errors").reveal()
    return {
        "x-probe-token": stack.secret(stack.environment.web.probe_token).reveal(),
        "x-probe-marker": marker,
        "authorization": f"Bearer {token}",
        "cookie": f"visitor={planted}",
        "x-forwarded-for": "192.0.2.44",
    }


def _event_findings(stack: Stack, event: dict[str, Any], planted: str, where: str) -> list[Finding]:
    wanted = {"release": web_build.release(stack), "environment": stack.environment.environment}
    findings = [
        Finding(f"{key} {value}", f"{key} {event.get(key)}", where, "deploy the web component again")
        for key, value in wanted.items()
        if event.get(key) != value
    ]
    text = json.dumps(event)
    private = {
        "the caller's token": stack.identities.token("web-errors").reveal(),
        "the caller's cookie or query": planted,
        "the caller's address": "192.0.2.44",
        "the probe token": stack.secret(stack.environment.web.probe_token).reveal(),
    }
    fix = "see web/lib/scrub.ts"
    return findings + [
        Finding("nothing that identifies a caller", what, f"{where} (the event)", fix)
        for what, value in private.items()
        if value in text
    ]


def _browser_findings(stack: Stack) -> list[Finding]:
    """Errors in browsers go to the same place: their DSN is in the scripts that are served."""
    url, wanted, served = stack.environment.web.url, web_build.dsn(stack), crawl(stack, ("/",))
    places = compiled_in(served).get("NEXT_PUBLIC_SENTRY_DSN", {})
    if not places:
        return [
            Finding(wanted, "no DSN in any script", f"{url} (browser)", "deploy the web component again")
        ]
    return [
        Finding(wanted, seen or "(undefined)", f"{url}{path} (browser)", "deploy the web component again")
        for path, seen in places.items()
        if seen != wanted
    ]
