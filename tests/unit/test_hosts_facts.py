"""What machines say of themselves: the program that runs there, and what is made of its answer."""

from __future__ import annotations

import http.server
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.errors import Unreachable
from harness.hosts import gather
from harness.hosts.facts import HostFacts, Listener, UnknownFact
from harness.hosts.facts_of_machines import Facts
from harness.hosts.ssh import CommandResult


class Here:
    """In the place of ssh: the program runs on this machine, or the machine is out of reach."""

    def __init__(self, *, gone: bool = False, says: bytes | None = None) -> None:
        self.asked: list[str] = []
        self.gone, self.says = gone, says
        self.gate = threading.Event()
        self.gate.set()

    def run(self, machine: str, argv: Sequence[str], *, stdin: bytes, sudo: bool) -> CommandResult:
        assert sudo
        self.gate.wait()
        self.asked.append(machine)
        if self.gone:
            raise Unreachable(machine, "no route")
        if self.says is not None:
            return CommandResult(machine, tuple(argv), 0, self.says, b"")
        done = subprocess.run([sys.executable, *argv[1:]], input=stdin, capture_output=True, check=False)
        return CommandResult(machine, tuple(argv), done.returncode, done.stdout, done.stderr)


def facts(here: Here) -> Facts:
    return Facts(here, units=["none-such.service"], files=["/none/such"])


def told(**parts: Any) -> HostFacts:
    return HostFacts("instant", {name: {"value": value} for name, value in parts.items()}, 100.0, 101.0)


def test_a_real_machine_says_what_it_can_and_why_it_cannot_say_the_rest() -> None:
    seen = facts(Here()).of("instant")
    assert any(program.pid == 1 for program in seen.processes)
    assert seen.files == {"/none/such": ""}
    assert seen.booted > 0
    assert abs(sum(seen.clock_offset)) < 600
    with pytest.raises(UnknownFact, match="instant: its tailscale are unknown: there is no tailscale"):
        seen.part("tailscale")


def test_a_part_that_was_not_asked_for_is_unknown() -> None:
    seen = facts(Here()).read("instant", ["booted"])
    assert set(seen.parts) == {"booted"}
    with pytest.raises(UnknownFact, match="instant: its disks are unknown: it was not asked"):
        seen.disks  # noqa: B018


def test_a_machine_is_asked_once_whoever_asks() -> None:
    here = Here()
    here.gate.clear()
    known = facts(here)
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(known.of, "instant") for _ in range(8)]
        here.gate.set()
        assert len({id(one.result()) for one in asking}) == 1
    known.all(["instant", "database"])
    assert here.asked == ["instant", "database"]
    known.refresh(["instant"])
    known.all(["instant", "database"])
    assert here.asked == ["instant", "database", "instant"]


def test_an_unreachable_machine_is_its_own_answer() -> None:
    known = facts(Here(gone=True))
    assert isinstance(known.all(["instant"])["instant"], Unreachable)
    with pytest.raises(Unreachable, match="instant: no route"):
        known.every(["instant"])


@pytest.mark.parametrize(("says", "why"), [(b"", "is no JSON"), (b"Warning\n{}", "is no JSON")])
def test_an_answer_that_makes_no_sense_is_named(says: bytes, why: str) -> None:
    with pytest.raises(UnknownFact, match=why):
        facts(Here(says=says)).of("instant")


def test_the_clock_lies_between_the_question_and_the_answer() -> None:
    ahead = told(clock={"began": 130.2, "now": 130.8}).clock_offset
    assert ahead == pytest.approx((29.8, 30.2))


def test_a_unit_that_systemd_does_not_know_is_not_found() -> None:
    seen = told(units=[{"Id": "a.service", "LoadState": "not-found"}])
    assert not seen.unit("a.service").found
    with pytest.raises(UnknownFact, match=r"b\.service was not asked for"):
        seen.unit("b.service")


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False)],  # noqa: S104
)
def test_loopback_is_told_from_the_rest(address: str, local: bool) -> None:
    assert Listener("tcp", address, 22, ()).local is local


class _Engine(http.server.BaseHTTPRequestHandler):
    """A Docker engine that has lost one of its containers since it listed them."""

    def do_GET(self) -> None:
        inspected = {
            "Id": "a1b2",
            "Name": "/gateway",
            "Image": "sha256:1",
            "State": {"Status": "running", "Pid": 7},
            "Config": {"User": "10001"},
            "NetworkSettings": {},
            "HostConfig": {
                "ReadonlyRootfs": True,
                "Privileged": False,
                "RestartPolicy": {"Name": "unless-stopped"},
                "LogConfig": {"Type": "journald"},
                "NetworkMode": "default",
            },
        }
        answers: dict[str, Any] = {
            "/containers/json?all=1": [{"Id": "gone"}, {"Id": "there"}],
            "/containers/there/json": inspected,
        }
        body = json.dumps(answers.get(self.path, {"message": "no such thing"})).encode()
        self.send_response(200 if self.path in answers else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def test_a_container_that_goes_while_it_is_read_does_not_make_the_others_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "docker.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), _Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(gather, "DOCKER_SOCKET", str(path))
        found = gather.containers()
        server.shutdown()
    assert [(one["name"], one["digests"]) for one in found] == [("gateway", [])]


def test_private_keys_never_leave_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = "wg0\tPRIVATE-KEY\tPUBLIC\t51820\toff\n"
    dump += "wg0\tPEER\tSHARED-KEY\t10.86.3.21:51820\t10.87.3.21/32\t1795575201\t1\t2\toff\n"
    monkeypatch.setattr(gather, "run", lambda *argv: dump)
    seen = json.dumps(gather.peers())
    assert "PEER" in seen
    assert "PRIVATE-KEY" not in seen
    assert "SHARED-KEY" not in seen


def test_sockets_are_read_with_and_without_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = 'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=9,fd=3),("sshd",pid=8,fd=3))\n'
    shown += "udp UNCONN 0 0 [::%eth0]:51820 [::]:*\n"
    monkeypatch.setattr(gather, "run", lambda *argv: shown)
    assert gather.sockets() == [
        {"protocol": "tcp", "address": "0.0.0.0", "port": 22, "holders": [["sshd", 9], ["sshd", 8]]},  # noqa: S104
        {"protocol": "udp", "address": "::", "port": 51820, "holders": []},
    ]
