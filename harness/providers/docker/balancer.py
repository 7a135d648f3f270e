"""The load balancer: haproxy's configuration out of the declaration, and its runtime interface.

Two back ends hold the same gateways. `gateways` asks each whether it is *ready*; requests go there. When
none is, because something that all of them need is down, requests go to `alive`, where the gateways
themselves say what is wrong. A rollout drains a gateway in both.
"""

from __future__ import annotations

import contextlib
import csv
import io
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.environment import Environment
from harness.environment.gateway import DockerGateway
from harness.environment.machines import Machines
from harness.environment.supabase import HostSupabase
from harness.errors import DeployError, HarnessError, NoProvider, Unreachable
from harness.hosts.ssh import Remote
from harness.providers.docker.haproxy import FRONT_END, GATEWAYS, GLOBAL, HTTP, NO_GATEWAY, REST
from harness.waiting import wait_until

__all__ = ["BACKENDS", "CONFIGURATION", "Balancer", "Server", "configuration", "parse_servers", "strays"]

CONFIGURATION = "/etc/haproxy/haproxy.cfg"
SOCKET = "/run/haproxy/harness.sock"
BACKENDS = ("gateways", "alive")
_FORCED_MAINTENANCE, _FORCED_DRAIN = 0x01, 0x08
_CHECKED = 0x04
"""In srv_check_state: the server is asked for its health."""
_RUNNING = "2"
_SECONDS = 5.0


def configuration(environment: Environment) -> str:
    """haproxy.cfg of ``environment``: pure.

    Raises:
        NoProvider: when its gateway is not behind a balancer.
    """
    gateway, machines = environment.gateway, environment.machines
    if not isinstance(gateway, DockerGateway) or machines is None:
        raise NoProvider("the gateway of this environment is behind no load balancer")
    url = urlsplit(gateway.url)
    # the engine's own probe, a generated token included, may take this long without being hung
    patience = environment.instant.answer_within_seconds + 5
    servers = [(name, f"{_address(machines, name)}:{gateway.port}") for name in gateway.hosts]
    lines = [
        GLOBAL.format(socket=SOCKET, user=machines.ssh.user, least=gateway.tls.least_version),
        FRONT_END.format(port=url.port or 443, certificate=gateway.tls.certificate, no_gateway=NO_GATEWAY),
        *(
            GATEWAYS.format(
                name=name,
                path=path,
                host=url.hostname,
                patience=f"{patience:g}",
                servers="\n".join(f"    server {server} {address}" for server, address in servers),
            )
            for name, path in zip(BACKENDS, ("/health/ready", "/health/live"), strict=True)
        ),
    ]
    if gateway.tls.http_port is not None:
        lines.append(HTTP.format(port=gateway.tls.http_port, url=gateway.url.rstrip("/")))
    supabase = environment.supabase
    if isinstance(supabase, HostSupabase):
        port = urlsplit(supabase.api_url).port or 443
        where = f"{_address(machines, supabase.host)}:{supabase.api_port}"
        lines.append(REST.format(port=port, certificate=gateway.tls.certificate, server=where))
    return "\n".join(lines)


def _address(machines: Machines, name: str) -> str:
    """Where the balancer reaches the machine: on the private network, if the machine is on it."""
    machine = machines.host(name)
    return machine.private_address or machine.address


@dataclass(frozen=True)
class Server:
    """A gateway as the balancer sees it in one back end."""

    backend: str
    name: str
    up: bool
    drained: bool
    sessions: int
    meddled: str = ""
    """What somebody did to it by hand, which no rollout does."""


def parse_servers(state: str, stat: str) -> list[Server]:
    """The servers of our back ends, from what `show servers state` and `show stat` say.

    Raises:
        HarnessError: when that is something else.
    """
    sessions = {}
    for row in csv.DictReader(io.StringIO(stat.lstrip("# "))):
        sessions[row.get("# pxname") or row.get("pxname"), row.get("svname")] = row.get("scur") or "0"
    lines = state.splitlines()
    header = next((line.lstrip("# ").split() for line in lines if line.startswith("#")), [])
    try:
        rows = [dict(zip(header, line.split(), strict=False)) for line in lines if line[:1].isdigit()]
        return [
            Server(
                row["be_name"],
                row["srv_name"],
                row["srv_op_state"] == _RUNNING,
                bool(int(row["srv_admin_state"]) & _FORCED_DRAIN),
                int(sessions[row["be_name"], row["srv_name"]]),
                _meddled(row),
            )
            for row in rows
            if len(row) > 5 and row["be_name"] in BACKENDS
        ]
    except (KeyError, ValueError) as error:
        raise HarnessError(f"haproxy's state cannot be read: {type(error).__name__}: {error}") from error


def _meddled(row: Mapping[str, str]) -> str:
    if int(row["srv_admin_state"]) & _FORCED_MAINTENANCE:
        return "it is in maintenance"
    return "" if int(row.get("srv_check_state", _CHECKED)) & _CHECKED else "its health is not asked"


def strays(servers: Sequence[Server]) -> dict[str, str]:
    """Gateways to which requests are not led as declared, and why; a whole drain is a rollout's own.

    haproxy's file does not show it: whoever stops in the middle, or types a command, changes what runs.
    """
    found = {server.name: server.meddled for server in servers if server.meddled}
    for name in {server.name for server in servers} - found.keys():
        if len({server.drained for server in servers if server.name == name}) > 1:
            found[name] = "it is drained in one back end alone"
    return dict(sorted(found.items()))


def _reclaimed(name: str, why: str) -> str:
    return f"lead requests to {name} again (at the balancer {why})"


class Balancer:
    """haproxy on its machine, over ssh: configured, asked and told through its own socket."""

    def __init__(self, environment: Environment, remote: Remote) -> None:
        self._environment, self._remote = environment, remote
        gateway = environment.gateway
        if not isinstance(gateway, DockerGateway):
            raise NoProvider("the gateway of this environment is behind no load balancer")
        self.machine = gateway.balancer

    def configured(self) -> bool:
        """Whether it runs with the declared configuration. Reads only."""
        script = f"cat {CONFIGURATION}; systemctl is-active --quiet haproxy && echo '# active'"
        text = self._remote.script(self.machine, script, sudo=True).text
        return text == f"{configuration(self._environment)}# active\n"

    def configure(self) -> None:
        """Write the declared configuration, have haproxy judge it, then reload without losing a request.

        Raises:
            DeployError: when haproxy refuses it (what ran before goes on) or does not start.
        """
        new = f"{CONFIGURATION}.harness"
        self._remote.put(self.machine, new, configuration(self._environment).encode(), mode=0o600)
        judged = self._remote.run(self.machine, ["haproxy", "-c", "-q", "-f", new], sudo=True)
        if judged.status:
            said = judged.stderr.decode("utf-8", "replace").strip()[-400:]
            hint = "haproxy goes on as before; its certificate and the declaration are what it depends on"
            what = f"haproxy on {self.machine} refuses its configuration: {said}"
            raise DeployError("gateway", what, hint)
        script = (
            f"mv -f {new} {CONFIGURATION} && chmod 644 {CONFIGURATION} && systemctl enable --quiet haproxy"
            " && systemctl reload-or-restart haproxy"
        )
        self._remote.script(self.machine, script, sudo=True).require()
        wait_until(
            f"haproxy on {self.machine}",
            lambda: bool(self.servers()),
            seconds=10.0,
            errors=(HarnessError,),
        )

    def servers(self) -> list[Server]:
        """Every gateway in both back ends.

        Raises:
            Unreachable: when haproxy does not answer.
        """
        with self._runtime() as path:
            return parse_servers(
                _say(self.machine, path, "show servers state"), _say(self.machine, path, "show stat")
            )

    def drain(self, name: str) -> None:
        """Lead no new request to the gateway ``name``; what is under way goes on."""
        self._set(name, "drain")

    def undrain(self, name: str) -> None:
        """Lead requests to the gateway ``name`` again, as soon as the checks hold."""
        self._set(name, "ready")

    def astray(self) -> list[str]:
        """What :meth:`reclaim` would do. Reads only."""
        return [_reclaimed(*stray) for stray in strays(self.servers()).items()]

    def reclaim(self) -> list[str]:
        """Ask every gateway for its health again and lead requests to it, whoever stopped that."""
        found = strays(self.servers())
        for name in found:
            with self._runtime() as path:
                for backend in BACKENDS:
                    _say(self.machine, path, f"enable health {backend}/{name}")
            self.undrain(name)
        return [_reclaimed(*stray) for stray in found.items()]

    def _set(self, name: str, state: str) -> None:
        with self._runtime() as path:
            for backend in BACKENDS:
                said = _say(self.machine, path, f"set server {backend}/{name} state {state}").strip()
                if said:
                    raise DeployError("gateway", f"haproxy on {self.machine}: {state} {name}: {said}")

    @contextlib.contextmanager
    def _runtime(self) -> Iterator[Path]:
        with self._remote.forwarded(self.machine, SOCKET) as path:
            yield Path(path)


def _say(machine: str, path: Path, command: str) -> str:
    """One command to haproxy's runtime interface; what it answers."""
    parts: list[bytes] = []
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(_SECONDS)
            channel.connect(str(path))
            channel.sendall(f"{command}\n".encode())
            while part := channel.recv(65536):
                parts.append(part)
    except OSError as error:
        raise Unreachable(machine, f"haproxy's runtime interface: {error}") from error
    if not parts:
        raise Unreachable(machine, "haproxy's runtime interface does not answer: does haproxy run?")
    return b"".join(parts).decode("utf-8", "replace")


def merged(servers: Sequence[Server], name: str) -> Server | None:
    """The gateway ``name`` over both back ends: up as ready, drained in both, all its sessions."""
    own = [server for server in servers if server.name == name]
    if not own:
        return None
    ready = next((server for server in own if server.backend == BACKENDS[0]), own[0])
    drained = all(server.drained for server in own)
    return Server(ready.backend, name, ready.up, drained, sum(server.sessions for server in own))
