"""Does each component run where its environment says, and do environments keep apart?"""

from __future__ import annotations

import contextlib
import ipaddress
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil

from harness.checks.base import check
from harness.environment import COMPONENTS, Environment
from harness.environment.explain import secret_fields
from harness.environment.loader import load
from harness.evidence import Evidence, Finding, judge
from harness.stack import Stack

__all__ = ["apart", "loopback", "placed"]

_PATHS = {
    "web": "/",
    "gateway": "/health/live",
    "instant": "/health",
    "thinking": "/health",
    "supabase": "/rest/v1/",
}
"""Where each component answers at once, without being woken or changed."""
_PORTS = ("port", "api_port", "database_port", "rest_port", "rest_admin_port", "error_sink_port")
_ADDRESSES = ("url", "api_url", "database_host", "project_ref", "endpoint_id")


def _placed(stack: Stack, component: str, provider: str) -> Evidence:
    """The component is provided as the plan says, is as declared, and answers at its declared address."""
    declared = getattr(stack.environment, component)
    where = f"environments/{stack.environment.environment}.yaml: {component}.provider"
    findings = []
    if declared.provider != provider:
        findings.append(Finding(provider, declared.provider, where, "see the plan's component table"))
    plan = stack.provider(component).plan()
    if plan.changes:
        observed = f"a deploy would change: {'; '.join(plan.changes)}"
        findings.append(Finding("as declared", observed, component, "deploy it"))
    url = declared.api_url if component == "supabase" else declared.url
    status = stack.http(url).get(_PATHS[component]).status_code  # what it says, other checks ask
    if status >= 500:
        findings.append(Finding("an answer", str(status), url, f"look at the log of {component}"))
    return judge(f"{component}: {declared.provider}, at {url}", findings, url=url, digest=plan.digest)


def _for(component: str) -> Any:
    @check(f"environment.{component}", component=component)
    def placed(stack: Stack, provider: str) -> Evidence:
        """The component is provided as the plan says, is as declared, and answers at its address."""
        return _placed(stack, component, provider)

    return placed


placed = {component: _for(component) for component in COMPONENTS}
"""Component: the check that asks where it runs."""


@check("environment.loopback", component="web", needs=("supabase", "instant", "thinking", "gateway"))
def loopback(stack: Stack) -> Evidence:
    """Everything that listens for this stack listens on loopback, and under the process manager."""
    findings: list[Finding] = []
    ports: dict[int, str] = {}
    for name, ip, port in _listening(stack):
        ports[port] = name
        if not ipaddress.ip_address(ip).is_loopback:
            findings.append(Finding("a loopback address", ip, f"{name}: {ip}:{port}", "bind 127.0.0.1"))
    findings += _strangers(stack, ports)
    listed = ", ".join(f"{name} {port}" for port, name in sorted(ports.items()))
    return judge(f"on loopback only: {listed}", findings, ports={str(k): v for k, v in ports.items()})


@check("environment.apart", component="supabase")
def apart(stack: Stack) -> Evidence:
    """No two environment files share a host, a project or a secret: a mistake in one stays in one."""
    names = sorted(path.stem for path in (stack.root / "environments").glob("*.yaml"))
    used: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for thing in _things(load(name, stack.root).environment):
            used[thing].append(name)
    findings = [
        Finding("of one environment alone", f"shared by {' and '.join(users)}", thing, "give each its own")
        for thing, users in sorted(used.items())
        if len(users) > 1
    ]
    return judge(f"{', '.join(names)}: nothing shared among {len(used)} hosts and keys", findings)


def _things(environment: Environment) -> set[str]:
    """Hosts, projects and secrets of an environment; what is generated on a machine belongs to it."""
    things = {f"secret {reference}" for _, reference in secret_fields(environment)}
    for machine in environment.machines.hosts if environment.machines else ():
        things |= {f"host {machine.address}"}
    for component in COMPONENTS:
        part = getattr(environment, component)
        for name in _ADDRESSES:
            for value in _listed(getattr(part, name, None)):
                host = urlsplit(value).netloc if "://" in value else value
                things.add(f"{'host' if '.' in host or ':' in host else name} {host}")
    return things


def _listed(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


def _listening(stack: Stack) -> Iterator[tuple[str, str, int]]:
    """Program, address and port of every listening socket of the stack."""
    found: set[tuple[str, str, int]] = set()
    for program in stack.processes.programs():
        for pid in _tree(program.pid) if program.pid else ():
            found |= {(program.name, ip, port) for ip, port in _listens_on(pid)}
    yield from sorted(found)


def _listens_on(pid: int) -> Iterator[tuple[str, int]]:
    """Asked of each process: of the whole system psutil names one holder of a socket, the youngest.

    PostgreSQL's may be a backend that it has forked since its processes were listed.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                yield connection.laddr.ip, connection.laddr.port


def _tree(pid: int) -> list[int]:
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _strangers(stack: Stack, ports: dict[int, str]) -> Iterator[Finding]:
    """Declared ports on which no program of the stack listens."""
    for component in COMPONENTS:
        part = getattr(stack.environment, component)
        for name in _PORTS:
            port = getattr(part, name, None)
            if port is not None and port not in ports:
                where = f"{component}.{name}: {port}"
                yield Finding("a program of this stack listens", "none does", where, "deploy it")
