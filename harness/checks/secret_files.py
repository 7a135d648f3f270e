"""Are the secrets that machines keep readable by whoever needs them, and by nobody else?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from harness.checks.base import check
from harness.checks.firewall import ON_MACHINES
from harness.environment.gateway import DockerGateway
from harness.environment.inference import PodInstant
from harness.environment.supabase import HostSupabase
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.hosts.modules import modules
from harness.providers.host.files import ETC
from harness.providers.pod.configuration import KEY_FILE
from harness.stack import Stack

__all__ = ["secret_files"]

_NOBODY_ELSE = 0o037
"""The group may read (a program's own group), others nothing, and only the owner may write."""


@check("machines.secret_files", component="gateway", needs=ON_MACHINES)
def secret_files(stack: Stack) -> Evidence:
    """Every file with a secret on a machine is closed to all but its owner and its program's group."""
    wanted = list(_files(stack))
    if not wanted:
        raise NoProvider("no provider of this environment keeps secrets on machines")
    with ThreadPoolExecutor(len(wanted)) as pool:
        modes = list(pool.map(lambda file: _mode(stack, *file), wanted))
    findings = []
    for (machine, path), mode in zip(wanted, modes, strict=True):
        if mode is None:
            findings.append(Finding("a file", "there is none", f"{machine}: {path}", "deploy it"))
        elif mode & _NOBODY_ELSE:
            expected, remedy = "0600, or 0640 for its program's group", f"chmod 600 {path}"
            findings.append(Finding(expected, f"mode {mode:04o}", f"{machine}: {path}", remedy))
    return judge(f"{len(wanted)} files with secrets, closed to others", findings, files=wanted)


def _files(stack: Stack) -> Iterator[tuple[str, str]]:
    """Machine and path of every file in which a secret is kept."""
    parts = stack.environment
    if isinstance(parts.gateway, DockerGateway):
        yield parts.gateway.balancer, parts.gateway.tls.certificate
    if isinstance(parts.instant, PodInstant):
        yield parts.instant.host, KEY_FILE
    if isinstance(parts.supabase, HostSupabase):
        for name in ("postgrest.conf", "api.env", "server.key"):
            yield parts.supabase.host, f"{ETC}/{name}"
    network = stack.fleet.machines.private_network
    for server in stack.fleet.servers if network.kind == "wireguard" else ():
        if server.private_address:
            yield server.name, f"/etc/wireguard/{network.interface}.conf"


def _mode(stack: Stack, machine: str, path: str) -> int | None:
    file = modules(stack.fleet, machine).file(path)
    return int(file.mode) if file.exists else None
