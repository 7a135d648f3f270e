"""What ssh is told: as a command line, and as a configuration file for other tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.environment.machines import Machine, Machines

__all__ = ["CONNECT_SECONDS", "Files", "ssh_argv", "ssh_configuration"]

CONNECT_SECONDS = 5


def ssh_argv(machine: Machine, user: str, files: Files) -> list[str]:
    """The ssh command line up to the remote command; pure."""
    options = _options(machine, files)
    settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-p", str(machine.ssh_port), "-l", user, *settings, machine.address]


def ssh_configuration(machines: Machines, files: Files) -> str:
    """The same as a configuration file, each machine by its name: for other tools; pure."""
    blocks = []
    for machine in machines.hosts:
        options = {"HostName": machine.address, "Port": str(machine.ssh_port), "User": machines.ssh.user}
        lines = [f'  {name} "{value}"' for name, value in {**options, **_options(machine, files)}.items()]
        blocks.append("\n".join([f"Host {machine.name}", *lines]))
    return "\n".join(blocks) + "\n"


def _options(machine: Machine, files: Files) -> dict[str, str]:
    return {
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ControlMaster": "auto",
        "ControlPath": str(files.socket(machine)),
        "ControlPersist": "60",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(files.key),
        "LogLevel": "ERROR",
        "PasswordAuthentication": "no",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "2",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": str(files.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
    }


@dataclass(frozen=True)
class Files:
    """What ssh reads and where it keeps its sockets (in a short path: a socket's may have 104 bytes)."""

    key: Path
    known_hosts: Path
    sockets: Path

    def socket(self, machine: Machine) -> Path:
        """Where the connection to ``machine`` is shared; it is there as long as the connection lives."""
        return self.sockets / machine.name
