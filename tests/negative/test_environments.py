"""Negative controls of the component table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness.checks import topology
from harness.environment import COMPONENTS
from harness.evidence import Verdict
from tests.gateway_stack import RealStack, broken


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_is_where_it_was_declared(gateway_stack: RealStack, component: str) -> None:
    evidence = topology.placed[component](gateway_stack.stack, provider="local")
    assert evidence.verdict is Verdict.HOLDS, evidence.as_dict()


def test_a_component_that_is_not_as_declared_is_named(gateway_stack: RealStack) -> None:
    placed = topology.placed["gateway"]
    with broken(gateway_stack, {"GATEWAY_LOG_LEVEL": "warning"}):
        (finding,) = placed(gateway_stack.stack, provider="local").findings
    assert finding.where == "gateway"
    assert "GATEWAY_LOG_LEVEL changed" in finding.observed
    (finding,) = placed(gateway_stack.stack, provider="docker").findings
    assert finding.where == "environments/local.yaml: gateway.provider"
    with gateway_stack.processes.stopped("thinking"):
        evidence = topology.placed["thinking"](gateway_stack.stack, provider="local")
    assert evidence.verdict is Verdict.UNREACHABLE
    kept = gateway_stack.stack.providers.pop("web")
    evidence = topology.placed["web"](gateway_stack.stack, provider="local")
    gateway_stack.stack.providers["web"] = kept
    assert evidence.summary.startswith("no provider")


def test_everything_is_on_loopback(gateway_stack: RealStack) -> None:
    evidence = topology.loopback(gateway_stack.stack)
    assert evidence.verdict is Verdict.HOLDS, evidence.as_dict()
    assert {"postgres", "gateway", "instant", "thinking", "web"} <= set(evidence.facts["ports"].values())


def test_a_program_that_everybody_can_reach_is_named(
    gateway_stack: RealStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test of this project may really listen to the world, so the kernel's answer is changed instead."""
    port = gateway_stack.stack.environment.instant.port
    right = psutil.Process.net_connections

    everybody = SimpleNamespace(ip="0.0.0.0", port=port)  # noqa: S104

    def open_to_all(process: psutil.Process, kind: str) -> list[object]:
        return [
            SimpleNamespace(status=c.status, laddr=everybody)
            if c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN
            else c
            for c in right(process, kind)
        ]

    monkeypatch.setattr(psutil.Process, "net_connections", open_to_all)
    (finding,) = topology.loopback(gateway_stack.stack).findings
    assert finding.where == f"instant: 0.0.0.0:{port}"


def test_a_declared_port_without_a_program_is_named(gateway_stack: RealStack) -> None:
    with gateway_stack.processes.stopped("thinking"):
        (finding,) = topology.loopback(gateway_stack.stack).findings
    assert finding.where == f"thinking.port: {gateway_stack.stack.environment.thinking.port}"


def test_a_shared_host_and_a_shared_secret_are_named(
    gateway_stack: RealStack, environment_files: Path
) -> None:
    assert topology.apart(gateway_stack.stack).verdict is Verdict.HOLDS
    staging = environment_files / "staging.yaml"
    text = staging.read_text()
    assert "https://gateway.staging.chat.example" in text and "STAGING_METRICS_TOKEN" in text
    text = text.replace("https://gateway.staging.chat.example", "https://gateway.chat.example")
    staging.write_text(text.replace("STAGING_METRICS_TOKEN", "PRODUCTION_METRICS_TOKEN"))
    evidence = topology.apart(gateway_stack.stack)
    assert evidence.verdict is Verdict.REFUTED
    places = {finding.where for finding in evidence.findings}
    assert places == {"host gateway.chat.example", "secret env:PRODUCTION_METRICS_TOKEN"}
    assert evidence.findings[0].observed == "shared by production and staging"
