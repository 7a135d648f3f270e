"""What a machine says of itself. Runs ON the machine: Python 3.8 or later, standard library alone.

It is sent on standard input, followed by one line that calls :func:`main`; the answer is one JSON object:
each part is ``{"value": …}``, or ``{"error": "why it is not known"}``. Parts are read side by side.
Private keys of the private network never leave the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

UNIT_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,Type,Restart,RestartUSec,MainPID,NRestarts,"
    "ActiveEnterTimestamp,FragmentPath"
)
DOCKER_SOCKET = "/var/run/docker.sock"
FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "f2fs", "tmpfs")
NOT_DISKS = ("/dev", "/proc", "/sys")
SECONDS = 20


class Unknown(Exception):
    """A part cannot be read; the text says why."""


class Gone(Exception):
    """What was asked about is no longer there."""


def run(*argv: str) -> str:
    """Standard output of a command that must succeed."""
    if shutil.which(argv[0]) is None:
        raise Unknown(f"there is no {argv[0]}")
    done = subprocess.run(argv, capture_output=True, timeout=SECONDS, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-200:]
        raise Unknown(f"{' '.join(argv[:3])} ended with {done.returncode}: {said}")
    return done.stdout.decode("utf-8", "replace")


def units(names: list[str]) -> list[dict[str, str]]:
    """Each of ``names`` as systemd sees it. By name: to list them all takes a hundred times as long."""
    shown = run("systemctl", "show", "--no-pager", "-p", UNIT_PROPERTIES, *sorted(names))
    blocks = (block for block in shown.split("\n\n") if block.strip())
    found = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
    return [unit for unit in found if "Id" in unit]


def sockets() -> list[dict[str, Any]]:
    """Everything that listens: protocol, address, port, [name, pid] of each holder."""
    found = []
    for line in run("ss", "-Htulnp").splitlines():
        columns = line.split(None, 6)
        address, _, port = columns[4].rpartition(":")
        holders = []
        for piece in (columns[6] if len(columns) > 6 else "").split('("')[1:]:
            name, _, rest = piece.partition('"')
            pid = rest.partition("pid=")[2].partition(",")[0]
            holders.append([name, int(pid)])
        found.append(
            {
                "protocol": columns[0],
                "address": address.partition("%")[0].strip("[]"),
                "port": int(port),
                "holders": holders,
            }
        )
    return found


class _Docker(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(DOCKER_SOCKET)


def _docker(path: str) -> Any:
    connection = _Docker("localhost", timeout=SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status == 404:
            raise Gone(path)
        if answer.status != 200:
            raise Unknown(f"the Docker engine answered {answer.status} to {path}")
        return json.loads(answer.read())
    finally:
        connection.close()


def containers() -> list[dict[str, Any]]:
    """Every container of the machine's Docker engine, running or not; without their environments."""
    if not Path(DOCKER_SOCKET).exists():
        return []
    found = []
    for listed in _docker("/containers/json?all=1"):
        with contextlib.suppress(Gone):  # removed since it was listed: a trial, a candidate
            found.append(_container(_docker(f"/containers/{listed['Id']}/json")))
    return found


def _container(seen: dict[str, Any]) -> dict[str, Any]:
    host = seen["HostConfig"]
    digests: list[str] = []
    with contextlib.suppress(Gone):  # an image can be removed by force while its container runs
        digests = _docker(f"/images/{seen['Image']}/json").get("RepoDigests") or []
    return {
        "id": seen["Id"],
        "name": seen["Name"].lstrip("/"),
        "state": seen["State"]["Status"],
        "health": (seen["State"].get("Health") or {}).get("Status", ""),
        "pid": seen["State"]["Pid"],
        "image": seen["Image"],
        "digests": digests,
        "user": seen["Config"]["User"],
        "read_only": host["ReadonlyRootfs"],
        "privileged": host["Privileged"],
        "restart": host["RestartPolicy"]["Name"],
        "log_driver": host["LogConfig"]["Type"],
        "network": host["NetworkMode"],
        "published": _published(seen["NetworkSettings"].get("Ports") or {}),
    }


def _published(ports: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"address": binding["HostIp"], "port": int(binding["HostPort"]), "inside": inside}
        for inside, bindings in sorted(ports.items())
        for binding in bindings or ()
    ]


def peers() -> list[dict[str, Any]]:
    """Peers of every WireGuard interface, kernel's or userspace: never a private or a shared key."""
    found = []
    for line in run("wg", "show", "all", "dump").splitlines():
        columns = line.split("\t")
        if len(columns) == 9:  # a peer; an interface's own line has 5, and its private key
            found.append(
                {
                    "interface": columns[0],
                    "public_key": columns[1],
                    "endpoint": columns[3],
                    "addresses": columns[4].split(","),
                    "handshake": int(columns[5]),
                }
            )
    return found


def clock(began: float) -> dict[str, Any]:
    """Seconds since the epoch when this program ``began``, and now."""
    return {"began": began, "now": time.time()}


def disks() -> list[dict[str, Any]]:
    """Every file system that can become full: bytes in all, and free for ordinary users."""
    found: dict[int, dict[str, Any]] = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, path, kind = line.split()[:3]
        if kind in FILE_SYSTEMS and not path.startswith(NOT_DISKS) and Path(path).is_dir():
            seen, device = os.statvfs(path), Path(path).stat().st_dev
            sizes = {"bytes": seen.f_blocks * seen.f_frsize, "free": seen.f_bavail * seen.f_frsize}
            if device not in found or len(path) < len(found[device]["path"]):
                found[device] = {"path": path, **sizes}
    return list(found.values())


def booted() -> float:
    """When PID 1 began, in seconds since the epoch: also right for a machine that is a container."""
    ticks = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
    up = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


def processes() -> list[dict[str, Any]]:
    """Every process: pid, parent, argv. Arguments are what everybody on the machine can read."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            argv = Path(f"/proc/{name}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            text = Path(f"/proc/{name}/stat").read_text(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        command = text.partition("(")[2].rpartition(")")[0]
        parent = int(text.rpartition(")")[2].split()[1])
        found.append({"pid": int(name), "parent": parent, "command": command, "argv": argv})
    return found


def gpus() -> list[dict[str, Any]]:
    """Every GPU: name and memory in MiB, as the driver says."""
    shown = run("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    rows = (line.rpartition(",") for line in shown.splitlines() if line.strip())
    return [{"name": name.strip(), "mib": int(float(mib))} for name, _, mib in rows]


def files(paths: list[str]) -> dict[str, str]:
    """sha256 of each file; empty where there is none."""
    found = {}
    for path in paths:
        try:
            found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except FileNotFoundError:
            found[path] = ""
    return found


def readers(asked: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Every part that can be asked for, and what reads it."""
    return {
        "units": lambda: units(asked.get("units", [])),
        "sockets": sockets,
        "ruleset": lambda: json.loads(run("nft", "-j", "list", "ruleset"))["nftables"],
        "addresses": lambda: json.loads(run("ip", "-j", "address")),
        "routes": lambda: json.loads(run("ip", "-j", "route")),
        "containers": containers,
        "peers": peers,
        "tailscale": lambda: json.loads(run("tailscale", "status", "--json")),
        "clock": lambda: clock(asked["began"]),
        "disks": disks,
        "booted": booted,
        "processes": processes,
        "gpus": gpus,
        "files": lambda: files(asked.get("files", [])),
    }


def answer(read: Callable[[], Any]) -> dict[str, Any]:
    """One part, or why it is not known."""
    try:
        return {"value": read()}
    except Unknown as error:
        return {"error": str(error)}
    except Exception as error:  # one part that breaks must not take the others with it
        return {"error": f"{type(error).__name__}: {error}"}


def main(asked: dict[str, list[str]]) -> None:
    """Print the parts that are asked for; ``asked["parts"]`` empty: all."""
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ["LC_ALL"] = "C"
    every = readers({**asked, "began": time.time()})
    wanted = {name: every[name] for name in asked.get("parts") or every}
    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(answer, wanted.values()))
    json.dump(dict(zip(wanted, answers)), sys.stdout)  # noqa: B905 - `strict` is of Python 3.10
