"""Negative controls of the rollout checks: a provider that does it badly, before a server that answers."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.checks import rollback, rollout
from harness.environment.loader import load
from harness.errors import DeployError, RolledBack
from harness.evidence import Verdict
from harness.identity import LocalIdentities
from harness.providers.base import Deployment, Progress
from harness.secrets import SecretStore
from harness.stack import Stack

ROOT = Path(__file__).parents[2]
NEW, OTHER, BAD = (f"sha256:{letter * 64}" for letter in "abc")


class Gateway(ThreadingHTTPServer):
    """Answers as the gateway does; told to, it refuses, or cuts every stream."""

    daemon_threads = True
    refuses = cuts = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_GET(self) -> None:
        state = {"state": "up", "latency_ms": 1}
        ready = {
            "status": "ready",
            "dependencies": dict.fromkeys(("database", "instant", "thinking"), state),
        }
        refused = self.server.refuses and self.path == "/v1/models"
        self._say(503 if refused else 200, json.dumps(ready).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(200, b"data: {}\n\n" if self.server.cuts else b"data: {}\n\ndata: [DONE]\n\n")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@dataclass
class Rolls:
    """Rolls out well; a test makes it do something badly."""

    server: Gateway
    component: str = "gateway"
    now: dict[str, str] = field(default_factory=lambda: {"gateway-1": NEW, "gateway-2": NEW})
    before: dict[str, str] = field(default_factory=lambda: {"gateway-1": OTHER, "gateway-2": OTHER})
    answers: dict[str, int | str] = field(
        default_factory=lambda: {"/health/live": 200, "/health/ready": 200}
    )
    has_lock: bool = True
    accepts_bad: bool = False
    back_seconds: float = 1.0
    touched: tuple[str, ...] = ("gateway-1",)
    prunes: bool = False
    held: bool = False

    def released(self) -> str:
        return NEW

    def running(self) -> Mapping[str, str]:
        return dict(self.now)

    def kept(self) -> Mapping[str, str]:
        return dict(self.before)

    def try_kept(self) -> Mapping[str, Mapping[str, int | str]]:
        return dict.fromkeys(self.before, self.answers)

    def another(self, *, bad: bool = False) -> str:
        return BAD if bad else OTHER

    def roll_to(self, digest: str) -> float:
        if digest == BAD and not self.accepts_bad:
            raise RolledBack("gateway", "not ready", "read its log", self.touched, self.back_seconds)
        self.before, self.now = dict(self.now), dict.fromkeys(self.now, digest)
        if self.prunes:
            self.before["gateway-2"] = ""
        return 0.5

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self.held = True
        yield
        self.held = False

    def deploy(self, progress: Progress) -> Deployment:
        if self.held and self.has_lock:
            raise DeployError("gateway", "somebody else deploys staging: ann (pid 7 on ci), since 12:00")
        return Deployment("gateway", NEW)


@pytest.fixture
def rolls(tmp_path: Path) -> Iterator[tuple[Stack, Rolls]]:
    server = Gateway()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    environment = load("local", ROOT).environment
    gateway = environment.gateway.model_copy(update={"url": url})
    stack = Stack(
        ROOT, tmp_path, environment.model_copy(update={"gateway": gateway}), SecretStore(ROOT, tmp_path)
    )
    stack.identities_source = LocalIdentities(stack)
    provider = Rolls(server)
    stack.providers["gateway"] = provider
    yield stack, provider
    stack.close()
    server.shutdown()
    server.server_close()


def unnoticed(stack: Stack) -> list[str]:
    evidence = rollout.unnoticed(stack, per_second=100, seconds=30)
    assert evidence.verdict in (Verdict.HOLDS, Verdict.REFUTED), evidence.summary
    return [f"{finding.where}: {finding.observed}" for finding in evidence.findings]


def bad_image(stack: Stack) -> list[str]:
    evidence = rollout.bad_image(stack, per_second=100, seconds=5)
    assert evidence.verdict in (Verdict.HOLDS, Verdict.REFUTED), evidence.summary
    return [f"{finding.where}: {finding.observed}" for finding in evidence.findings]


def test_a_good_rollout_has_no_finding(rolls: tuple[Stack, Rolls]) -> None:
    stack, _ = rolls
    assert rollout.digests(stack).verdict is Verdict.HOLDS
    assert unnoticed(stack) == []
    assert bad_image(stack) == []
    assert rollout.locked_out(stack).verdict is Verdict.HOLDS
    assert rollback.gateway_redeployed(stack).verdict is Verdict.HOLDS


def test_another_digest_on_one_of_two_gateways_is_named(rolls: tuple[Stack, Rolls]) -> None:
    stack, provider = rolls
    provider.now["gateway-2"] = OTHER
    (finding,) = rollout.digests(stack).findings
    assert (finding.where, finding.observed, finding.expected) == ("the gateway on gateway-2", OTHER, NEW)
    provider.now["gateway-2"] = ""
    assert rollout.digests(stack).findings[0].observed == "no gateway runs"


def test_requests_that_fail_during_a_rollout_are_seen(rolls: tuple[Stack, Rolls]) -> None:
    stack, provider = rolls
    provider.server.refuses = True
    found = unnoticed(stack)
    assert found and all("GET /v1/models" in line and "503" in line for line in found)


def test_a_stream_that_is_cut_is_seen(rolls: tuple[Stack, Rolls]) -> None:
    stack, provider = rolls
    provider.server.cuts = True
    assert any("a stream" in line and "cut before its end" in line for line in unnoticed(stack))


def test_a_previous_image_that_was_pruned_is_seen(rolls: tuple[Stack, Rolls]) -> None:
    stack, provider = rolls
    provider.prunes = True
    assert set(unnoticed(stack)) == {"the gateway on gateway-2: no previous image"}
    evidence = rollback.gateway_redeployed(stack)
    assert evidence.verdict is Verdict.REFUTED
    assert [finding.where for finding in evidence.findings] == ["the gateway on gateway-2"]


def test_a_previous_image_that_does_not_start_is_seen(rolls: tuple[Stack, Rolls]) -> None:
    stack, provider = rolls
    provider.answers["/health/ready"] = 503
    findings = rollback.gateway_redeployed(stack).findings
    assert [(finding.where, finding.observed) for finding in findings] == [
        ("the kept image on gateway-1", "503"),
        ("the kept image on gateway-2", "503"),
    ]


def test_a_bad_image_that_is_rolled_out_is_seen(rolls: tuple[Stack, Rolls]) -> None:
    stack, provider = rolls
    provider.accepts_bad = True
    found = bad_image(stack)
    assert "rolled out as if it were good" in found[0]
    assert [line for line in found if BAD in line] == [
        f"the gateway on gateway-1: {BAD}",
        f"the gateway on gateway-2: {BAD}",
    ]


def test_a_way_back_that_is_slow_or_wide_is_seen(rolls: tuple[Stack, Rolls]) -> None:
    stack, provider = rolls
    provider.back_seconds = 6.2
    assert ["6.20 s" in line for line in bad_image(stack)] == [True]
    provider.back_seconds, provider.touched = 1.0, ("gateway-1", "gateway-2")
    assert ["gateway-1, gateway-2" in line for line in bad_image(stack)] == [True]


def test_a_deploy_without_a_lock_is_seen(rolls: tuple[Stack, Rolls]) -> None:
    stack, provider = rolls
    provider.has_lock = False
    (finding,) = rollout.locked_out(stack).findings
    assert finding.observed == "it deployed"


def test_without_images_nothing_is_claimed(rolls: tuple[Stack, Rolls]) -> None:
    stack, _ = rolls
    stack.providers.clear()
    for check in (rollout.digests, rollout.locked_out, rollback.gateway_redeployed):
        assert check(stack).verdict is Verdict.BLOCKED
