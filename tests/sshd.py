"""Real ssh servers on loopback, owned by whoever runs the tests; each is a machine of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.environment.machines import Machine, Machines, PrivateNetwork, Ssh
from harness.hosts.ssh import Remote
from harness.secrets import Secret
from harness.waiting import wait_until
from tests.mortal import spawn
from tests.pg_fixture import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
needs_sshd = pytest.mark.skipif(not Path(SSHD).exists(), reason="no sshd here (Debian: openssh-server)")
CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile {directory}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowStreamLocalForwarding yes
"""


@dataclass
class Server:
    """One sshd. ``process`` is it; ``port`` its port; ``host_key`` its public key."""

    name: str
    port: int
    host_key: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@contextlib.contextmanager
def servers(directory: Path, *names: str) -> Iterator[tuple[Remote, dict[str, Server]]]:
    """A server for each of ``names``, and the transport to all of them."""
    key = _keygen(directory / "user_key")
    running: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            running[name] = _start(directory / name, name, Path(f"{key}.pub").read_text())
            stack.callback(running[name].stop)
        known = directory / "known_hosts"
        known.write_text("".join(f"[127.0.0.1]:{s.port} {s.host_key}\n" for s in running.values()))
        machines = Machines(
            ssh=Ssh(user=pwd.getpwuid(os.getuid()).pw_name, key="env:UNUSED", known_hosts=str(known)),
            private_network=PrivateNetwork(kind="wireguard", range="10.0.0.0/8", interface="wg0"),
            operator="127.0.0.1",
            hosts=tuple(Machine(name=n, address="127.0.0.1", ssh_port=s.port) for n, s in running.items()),
        )
        remote = Remote(machines, Secret(key.read_text(), "env:UNUSED"), directory, directory / "state")
        stack.callback(remote.close)
        yield remote, running


def _keygen(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def _start(directory: Path, name: str, authorized: str) -> Server:
    host_key = _keygen(directory / "host_key")
    (directory / "authorized_keys").write_text(authorized)
    if os.getuid() == 0:  # where sshd as root puts its unprivileged part
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    configuration = directory / "sshd_config"
    configuration.write_text(CONFIGURATION.format(port=port, directory=directory))
    with (directory / "log").open("wb") as log:
        process = spawn([SSHD, "-D", "-e", "-f", str(configuration)], stderr=log)
    wait_until(f"sshd {name}", lambda: _listens(port), seconds=10, seen=(directory / "log").read_text)
    return Server(name, port, " ".join(Path(f"{host_key}.pub").read_text().split()[:2]), process)


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
