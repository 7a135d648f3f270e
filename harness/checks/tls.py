"""How the world is answered: certificate, protocols, no plaintext, and no way round the load balancer."""

from __future__ import annotations

import datetime as dt
import re
import socket
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from harness.checks.base import check
from harness.checks.firewall import ON_MACHINES, surveyed
from harness.environment.gateway import DockerGateway
from harness.environment.supabase import HostSupabase
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.hosts.matrix import Seen
from harness.stack import Stack
from harness.trust import system_trust

__all__ = ["certificate", "https_only", "no_way_round", "protocols"]

_SECONDS = 5.0
_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_LEAST_HSTS_SECONDS = 15_552_000
"""180 days."""
_PATH = "/health/live"


@dataclass(frozen=True)
class _Front:
    """Something that answers to https."""

    url: str
    host: str
    port: int


def _gateway(stack: Stack) -> DockerGateway:
    declared = stack.environment.gateway
    if not isinstance(declared, DockerGateway):
        raise NoProvider(f"the provider {declared.provider} has no load balancer")
    return declared


def _fronts(stack: Stack) -> list[_Front]:
    urls = [_gateway(stack).url]
    if isinstance(stack.environment.supabase, HostSupabase):
        urls.append(stack.environment.supabase.api_url)
    parts = [(url, urlsplit(url)) for url in urls]
    return [_Front(url, part.hostname or "", part.port or 443) for url, part in parts]


@check("gateway.tls.certificate", component="gateway", needs=("supabase",))
def certificate(stack: Stack) -> Evidence:
    """The certificate is of a trusted authority, for the host that is asked, and valid for long enough."""
    least = _gateway(stack).tls.least_days
    findings, seen = [], []
    for front in _fronts(stack):
        held = x509.load_der_x509_certificate(_handshake(front, _anything()).certificate)
        days = (held.not_valid_after_utc - dt.datetime.now(dt.UTC)).total_seconds() / 86400
        seen.append(f"{front.url}: of {held.issuer.rfc4514_string()}, {days:.0f} days left")
        try:
            _handshake(front, _trusting(stack))
        except ssl.SSLCertVerificationError as error:
            observed = (
                f"{error.verify_message}; it is of {held.issuer.rfc4514_string()}, for {_names(held)}"
            )
            observed += f", until {held.not_valid_after_utc:%Y-%m-%d}"
            remedy = "put one of gateway.tls.ca's authority for that host, and its chain, on the balancer"
            findings.append(Finding("a certificate that clients accept", observed, front.url, remedy))
            continue
        if days < least:
            observed = f"{days:.1f} days, until {held.not_valid_after_utc:%Y-%m-%d}"
            findings.append(Finding(f"at least {least} days left", observed, front.url, "renew it"))
    return judge("; ".join(seen), findings)


@check("gateway.tls.protocols", component="gateway", needs=("supabase",))
def protocols(stack: Stack) -> Evidence:
    """The declared protocol and newer ones are spoken; older ones are refused."""
    if not (ssl.HAS_TLSv1 and ssl.HAS_TLSv1_1):
        raise NoProvider("this machine's OpenSSL speaks no old protocol, so it cannot see one refused")
    least = list(_VERSIONS).index(_gateway(stack).tls.least_version)
    old, new = list(_VERSIONS)[:least], list(_VERSIONS)[least:]
    findings, seen = [], []
    for front in _fronts(stack):
        spoken = [name for name in _VERSIONS if _speaks(front, name)]
        seen.append(f"{front.url}: {', '.join(spoken)}")
        for name in old:
            if name in spoken:
                remedy = f"ssl-min-ver {new[0]} in haproxy's configuration: deploy the gateway again"
                findings.append(Finding(f"{name} is refused", f"{name} is spoken", front.url, remedy))
        if not set(new) & set(spoken):
            observed = ", ".join(spoken) or "none"
            findings.append(Finding(f"{new[0]} or newer", observed, front.url, "see haproxy's log"))
    return judge(f"{'; '.join(seen)}; {', '.join(old)} refused", findings)


@check("gateway.tls.https_only", component="gateway", needs=("supabase",))
def https_only(stack: Stack) -> Evidence:
    """Plain http leads to https and nowhere else, and browsers are told to come by https alone."""
    declared = _gateway(stack)
    findings = []
    for front in _fronts(stack):
        answer = stack.http(front.url).get(_PATH)
        told = answer.headers.get("strict-transport-security", "")
        held = re.search(r"max-age=(\d+)", told)
        if not held or int(held[1]) < _LEAST_HSTS_SECONDS:
            expected = f"Strict-Transport-Security with max-age of at least {_LEAST_HSTS_SECONDS}"
            where = f"{front.url}{_PATH}"
            findings.append(Finding(expected, told or "no such header", where, "set it on the balancer"))
        findings += list(_plain(front))
    redirected = "nothing listens for http"
    if declared.tls.http_port is not None:
        redirected = f"port {declared.tls.http_port} leads to https"
        findings += list(_redirect(_fronts(stack)[0], declared.tls.http_port))
    return judge(f"{redirected}; HSTS is told; no answer to plain http", findings)


def _redirect(front: _Front, port: int) -> Iterator[Finding]:
    url = f"http://{front.host}:{port}{_PATH}?a=b"
    answer = httpx.get(
        url, timeout=_SECONDS, verify=system_trust(), trust_env=False, follow_redirects=False
    )
    wanted = f"{front.url}{_PATH}?a=b"
    observed = f"{answer.status_code}, Location: {answer.headers.get('location', 'none')}"
    if answer.status_code not in (301, 308) or answer.headers.get("location") != wanted:
        yield Finding(
            f"308 to {wanted}", observed, url, "let the balancer redirect, and serve nothing there"
        )


def _plain(front: _Front) -> Iterator[Finding]:
    """Plain http on the port of https must not be answered by what is behind it."""
    url = f"http://{front.host}:{front.port}{_PATH}"
    try:
        answer = httpx.get(url, timeout=_SECONDS, verify=system_trust(), trust_env=False)
    except httpx.TransportError:
        return  # the connection was closed: as it should be
    if answer.is_success:
        yield Finding("no answer without TLS", f"{answer.status_code}", url, "terminate TLS on that port")


@check("gateway.no_way_round", component="gateway", needs=ON_MACHINES)
def no_way_round(stack: Stack) -> Evidence:
    """Nobody but the load balancer (and the operator) reaches a gateway's own port."""
    declared = _gateway(stack)
    seen = [
        one
        for one in surveyed(stack).seen
        if one.probe.target in declared.hosts and one.probe.port == declared.port and not one.probe.own
    ]
    findings = [finding for one in seen if (finding := _way_round(one, declared.balancer))]
    refused = sum(bool(one.denied) for one in seen)
    let_in = sorted({one.probe.vantage for one in seen if one.outcome == "open"})
    if declared.balancer not in let_in:
        where = f"{declared.balancer} to {', '.join(declared.hosts)}"
        observed = "it does not reach one: then nothing is proven about others"
        findings.append(
            Finding("the load balancer reaches the gateways", observed, where, "see the firewall")
        )
    summary = f"port {declared.port}: open for {', '.join(let_in)}, refused {refused} times"
    return judge(summary, findings, let_in=let_in, refused=refused)


def _way_round(one: Seen, balancer: str) -> Finding | None:
    probe = one.probe
    if probe.vantage in (balancer, "operator") and probe.allowed:
        return None
    if one.outcome not in ("open", "refused"):
        return None
    where = f"{probe.target}, {probe.address}:{probe.port}"
    observed = f"{one.outcome} from {probe.vantage}, without TLS"
    remedy = f"deploy the firewall of {probe.target} again, or take it out of its `allows`"
    return Finding(f"{balancer} alone", observed, where, remedy)


# --- handshakes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Handshake:
    version: str
    certificate: bytes


def _handshake(front: _Front, context: ssl.SSLContext) -> _Handshake:
    """One handshake.

    Raises:
        ssl.SSLError: when the two do not agree; ConnectionError, TimeoutError: when nobody answers.
    """
    with (
        socket.create_connection((front.host, front.port), timeout=_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=front.host) as secured,
    ):
        return _Handshake(secured.version() or "", secured.getpeercert(binary_form=True) or b"")


def _trusting(stack: Stack) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if stack.tls_ca is not None:
        context.load_verify_locations(cafile=stack.tls_ca)
    return context


def _anything() -> ssl.SSLContext:
    """Takes any certificate: to say what is wrong with one that is not trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _speaks(front: _Front, version: str) -> bool:
    """Whether a handshake in exactly this protocol succeeds, whatever the ciphers."""
    context = _anything()
    with warnings.catch_warnings():  # old protocols are deprecated: that is why they are asked for
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = _VERSIONS[version]
    context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        return _handshake(front, context).version == version
    except (ssl.SSLError, ConnectionResetError):
        return False


def _names(held: x509.Certificate) -> str:
    try:
        found = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "no name"
    return ", ".join(str(name.value) for name in found)
