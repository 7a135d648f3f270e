"""Negative controls of TLS: haproxy with wrong certificates, old protocols, plaintext, a way round it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from harness.checks import tls
from harness.checks.base import Check
from harness.evidence import Verdict
from harness.hosts import faults
from harness.providers.docker.balancer import (
    CONFIGURATION,
    SOCKET,
    Balancer,
    _say,
    configuration,
    strays,
)
from harness.rehearsal import pki
from tests.machines_stack import Machines, said

pytestmark = pytest.mark.slow
CHECKS: tuple[Check, ...] = (tls.certificate, tls.protocols, tls.https_only, tls.no_way_round)
RELOAD = "systemctl reset-failed haproxy && systemctl restart haproxy"
"""systemd refuses the sixth start in ten seconds, unless it is told to forget the others."""


def only(machines: Machines, culprit: Check | None) -> str:
    machines.stack.close()
    asked = {check.name: check(machines.stack) for check in CHECKS}
    wrong = {name for name, evidence in asked.items() if evidence.verdict is not Verdict.HOLDS}
    assert wrong == ({culprit.name} if culprit else set()), {
        n: (e.summary, said(e)) for n, e in asked.items()
    }
    return said(asked[culprit.name]) if culprit else ""


@contextlib.contextmanager
def certified(machines: Machines, pem: bytes) -> Iterator[None]:
    path = machines.stack.environment.gateway.tls.certificate
    with faults.file_replaced(machines.stack.fleet, "balancer", path, pem, then=RELOAD):
        yield


@contextlib.contextmanager
def configured(machines: Machines, before: str, after: str) -> Iterator[None]:
    text = configuration(machines.stack.environment)
    assert before in text
    changed = text.replace(before, after).encode()
    with faults.file_replaced(machines.stack.fleet, "balancer", CONFIGURATION, changed, then=RELOAD):
        yield


def host(machines: Machines) -> str:
    return str(urlsplit(machines.stack.environment.gateway.url).hostname)


def test_the_declared_balancer_passes_every_check(machines: Machines) -> None:
    assert only(machines, None) == ""


def test_an_expired_certificate_is_refuted(machines: Machines) -> None:
    with certified(machines, pki.expired(machines.stack.state / "pki", [host(machines)])):
        text = said(tls.certificate(machines.stack))
    assert "certificate has expired" in text
    assert machines.stack.environment.gateway.url in text


def test_an_unknown_authority_is_refuted(machines: Machines) -> None:
    with certified(machines, pki.unknown([host(machines)])):
        text = said(tls.certificate(machines.stack))
    assert "unable to get local issuer certificate" in text
    assert "somebody else" in text


def test_a_certificate_for_another_host_is_refuted(machines: Machines) -> None:
    other = pki.certificate(pki.authority(machines.stack.state / "pki"), ["10.86.99.99"])
    with certified(machines, other):
        text = said(tls.certificate(machines.stack))
    assert "IP address mismatch" in text
    assert "10.86.99.99" in text


def test_a_certificate_that_ends_soon_is_refuted(machines: Machines) -> None:
    soon = pki.certificate(pki.authority(machines.stack.state / "pki"), [host(machines)], days=3)
    with certified(machines, soon):
        text = only(machines, tls.certificate)
    assert "at least 14 days left" in text


def test_an_old_protocol_is_refuted(machines: Machines) -> None:
    old = "ssl-default-bind-options ssl-min-ver TLSv1.0\n    ssl-default-bind-ciphers ALL:@SECLEVEL=0"
    line = "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n"
    line += "    ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20"
    with configured(machines, line, old):
        text = only(machines, tls.protocols)
    assert "TLSv1.1 is spoken" in text


def test_plaintext_is_refuted(machines: Machines) -> None:
    address = machines.stack.fleet.machines.host("gateway-1").private_address
    served = (
        f"frontend plain\n    bind :80\n    default_backend open\nbackend open\n    server s {address}:8000"
    )
    redirect = configuration(machines.stack.environment).partition("frontend plain")[2]
    with configured(machines, f"frontend plain{redirect}", f"{served}\n"):
        text = only(machines, tls.https_only)
    assert "observed  200, Location: none" in text


def test_a_missing_redirect_is_refuted(machines: Machines) -> None:
    with configured(machines, "code 308", "code 302"):
        text = only(machines, tls.https_only)
    assert "observed  302" in text


def test_missing_hsts_is_refuted(machines: Machines) -> None:
    line = 'http-response set-header Strict-Transport-Security "max-age=31536000"'
    with configured(machines, line, ""):
        text = only(machines, tls.https_only)
    assert "observed  no such header" in text


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("set server gateways/gateway-1 state maint", "it is in maintenance"),
        ("disable health alive/gateway-1", "its health is not asked"),
        ("set server gateways/gateway-1 state drain", "it is drained in one back end alone"),
    ],
)
def test_a_gateway_that_the_balancer_was_told_to_leave_out_is_named_and_reclaimed(
    machines: Machines, command: str, why: str
) -> None:
    balancer = Balancer(machines.stack.environment, machines.stack.remote)
    assert strays(balancer.servers()) == {}
    with machines.stack.remote.forwarded("balancer", SOCKET) as path:
        _say("balancer", path, command)
    assert balancer.configured(), "its file is the declared one all the while"
    assert strays(balancer.servers()) == {"gateway-1": why}
    planned = balancer.astray()
    assert planned == [f"lead requests to gateway-1 again (at the balancer {why})"]
    assert balancer.reclaim() == planned
    assert balancer.reclaim() == []


def test_a_way_round_the_balancer_is_refuted(machines: Machines) -> None:
    outsider = machines.stack.fleet.machines.host("outsider").address
    grant = f"nft add element inet harness public_v4 '{{ {outsider} . 8000 }}'"
    with machines.broken("gateway-1", grant, "nft -f /etc/harness/firewall.nft"):
        text = only(machines, tls.no_way_round)
    assert "open from outsider, without TLS" in text
