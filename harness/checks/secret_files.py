"""Are the secrets that machines keep readable by whoever needs them, and by nobody else?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.checks.base import check
from harness.checks.firewall import ON_MACHINES
from harness.environment.gateway import DockerGateway
from harness.environment.inference import PodInstant
from harness.environment.supabase import HostSupabase
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.providers.host.files import ETC
from harness.providers.pod.configuration import KEY_FILE
from harness.stack import Stack

__all__ = ["secret_files"]

_NOBODY_ELSE, _GROUP = 0o037, 0o040
"""The group may read (a program's own group), others nothing, and only the owner may write."""


@dataclass(frozen=True)
class _File:
    """A file with a secret; ``user``: as whom the program runs that reads it, when not as root."""

    machine: str
    path: str
    user: str = "root"


@dataclass(frozen=True)
class _Held:
    mode: int
    owner: str
    group: str

    def __str__(self) -> str:
        return f"mode {self.mode:04o}, {self.owner}:{self.group}"


@check("machines.secret_files", component="gateway", needs=ON_MACHINES)
def secret_files(stack: Stack) -> Evidence:
    """Every file with a secret on a machine is closed to all but its owner and its program's group."""
    wanted = list(_files(stack))
    if not wanted:
        raise NoProvider("no provider of this environment keeps secrets on machines")
    machines = dict.fromkeys(file.machine for file in wanted)
    with ThreadPoolExecutor(len(machines)) as pool:
        told = pool.map(
            lambda name: _held(stack, name, [f.path for f in wanted if f.machine == name]), machines
        )
        held = dict(zip(machines, told, strict=True))
    findings = [wrong for file in wanted if (wrong := _open(file, held[file.machine].get(file.path)))]
    names = [(file.machine, file.path) for file in wanted]
    return judge(f"{len(wanted)} files with secrets, closed to others", findings, files=names)


def _open(file: _File, held: _Held | None) -> Finding | None:
    """To whom else the file is open, if to anybody."""
    where = f"{file.machine}: {file.path}"
    if held is None:
        return Finding("a file", "there is none", where, "deploy it")
    others = held.mode & _NOBODY_ELSE or held.owner not in ("root", file.user)
    if not others and (not held.mode & _GROUP or held.group in ("root", file.user)):
        return None
    expected = f"0600, or 0640 for the group {file.user}; of root or {file.user}"
    return Finding(expected, str(held), where, f"chown root:{file.user} {file.path}; chmod 640 {file.path}")


def _files(stack: Stack) -> Iterator[_File]:
    """Every file in which a secret is kept on a machine."""
    parts = stack.environment
    if isinstance(parts.gateway, DockerGateway):
        yield _File(parts.gateway.balancer, parts.gateway.tls.certificate)
    if isinstance(parts.instant, PodInstant):
        yield _File(parts.instant.host, KEY_FILE)
    if isinstance(parts.supabase, HostSupabase):
        for name, user in (
            ("postgrest.conf", "supabase"),
            ("api.env", "supabase"),
            ("server.key", "postgres"),
        ):
            yield _File(parts.supabase.host, f"{ETC}/{name}", user)
    network = stack.fleet.machines.private_network
    for server in stack.fleet.servers if network.kind == "wireguard" else ():
        if server.private_address:
            yield _File(server.name, f"/etc/wireguard/{network.interface}.conf")


def _held(stack: Stack, machine: str, paths: Sequence[str]) -> dict[str, _Held]:
    """How each of ``paths`` is held, in one round trip; what is not there is left out."""
    argv = ["stat", "--dereference", "--format=%a %U %G %n", "--", *paths]
    done = stack.remote.run(machine, argv, sudo=True)
    found = (line.split(" ", 3) for line in done.text.splitlines())
    return {path: _Held(int(mode, 8), owner, group) for mode, owner, group, path in found}
