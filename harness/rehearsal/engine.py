"""The Docker engine of this machine: found, or installed from Debian's packages and started.

There is never a second engine in the machine's own network: it would take the first one's bridge away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import psutil

from harness.docker_engine import ENGINE_ERRORS, connect
from harness.errors import HarnessError
from harness.waiting import wait_until

__all__ = [
    "ENGINE_ERRORS",
    "PACKAGES",
    "Say",
    "connect",
    "engine_answers",
    "ensure_engine",
    "find_program",
    "lacks",
    "release_engine",
    "stop_engine",
]

PACKAGES = {
    "dockerd": "docker.io",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "ssh": "openssh-client",
}
"""Programs that this machine needs for a rehearsal, and the Debian packages that have them."""
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""What Debian's packages are verified with; other distributions have it as a package."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = {12: "NET_ADMIN", 21: "SYS_ADMIN"}
"""Bits of linux/capability.h that an engine cannot do without."""
_TITLE = "no rehearsal can be raised on this machine"
_START_SECONDS = 60.0
_INSTALL_SECONDS = 600.0
_PIDFILE = Path("/run/harness-dockerd.pid")
_LOCK = Path("/run/harness-dockerd.lock")
_LOG = Path("/var/log/harness-dockerd.log")

Say = Callable[[str], None]
"""Called with a short phrase while something goes on."""


def ensure_engine(say: Say, *, keep: bool = False) -> docker.DockerClient:
    """A client of this machine's engine; what is missing is installed and started where that is possible.

    With ``keep``, an engine that this starts stays until :func:`stop_engine`, whatever is torn down.

    Raises:
        HarnessError: says everything that is missing, and what to do.
    """
    with _one_at_a_time():
        return _ensured(say, keep)


def engine_answers() -> bool:
    """Whether an engine of this machine answers now."""
    try:
        connect().close()
    except HarnessError:
        return False
    return True


def require_root() -> None:
    """Say early what a rehearsal needs first.

    Raises:
        HarnessError: for everybody but root.
    """
    if os.geteuid() != 0:
        raise HarnessError(f"{_TITLE}:\n  " + "\n  ".join(lacks([])))


def _ensured(say: Say, keep: bool) -> docker.DockerClient:
    missing = [package for program, package in PACKAGES.items() if not find_program(program)]
    missing += [] if _KEYRING.exists() else ["debian-archive-keyring"]
    problems = list(lacks(missing))
    with contextlib.suppress(HarnessError):
        client = connect()
        if not missing and os.geteuid() == 0:
            return client
    if problems:
        raise HarnessError(f"{_TITLE}:\n  " + "\n  ".join(problems))
    if missing:
        say(f"installing {', '.join(missing)}")
        _install(missing)
    with contextlib.suppress(HarnessError):
        return connect()  # the package has started it
    say("starting the Docker engine")
    return _start(keep)


def lacks(missing: list[str]) -> Iterator[str]:
    """What keeps this process from installing the packages ``missing`` and starting an engine."""
    if os.geteuid() != 0:
        packages = f", install {' '.join(missing)}" if missing else ""
        yield f"only root may set routes and start a Docker engine{packages}: run it as root"
        return
    effective = _effective_capabilities()
    for bit, name in _CAPABILITIES.items():
        if not effective & 1 << bit:
            yield f"root lacks CAP_{name}, without which no engine runs (is this a plain container?)"
    if missing and not find_program("apt-get"):
        yield f"{', '.join(missing)} cannot be installed: there is no apt-get (Debian's packages are used)"


def release_engine(client: docker.DockerClient) -> bool:
    """Stop the engine that :func:`ensure_engine` started, unless something uses it; whether it was."""
    process, kept = _ours()
    if process is None or kept or client.containers.list():
        return False
    client.close()
    return stop_engine()


def stop_engine() -> bool:
    """Stop the engine that :func:`ensure_engine` started, whatever runs in it; whether there was one."""
    process, _ = _ours()
    if process is None:
        return False
    process.terminate()
    process.wait(_START_SECONDS)
    _PIDFILE.unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Of several rehearsals that find no engine, one starts it."""
    if os.geteuid() != 0:  # who may not start one needs no turn
        yield
        return
    with _LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_program(program: str) -> str | None:
    """Where ``program`` is; also where only root looks by default."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    for argv in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-600:]
            raise HarnessError(f"`{' '.join(argv)}` ended with {done.returncode}: {said}")


def _start(keep: bool) -> docker.DockerClient:
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], capture_output=True, timeout=60, check=False)
        process = None
    else:
        with _LOG.open("ab") as log:
            process = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _PIDFILE.write_text(f"{process.pid} {psutil.Process(process.pid).create_time()} {int(keep)}")

    def answered() -> docker.DockerClient:
        if process is not None and process.poll() is not None:
            _PIDFILE.unlink(missing_ok=True)
            last = _LOG.read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"dockerd ended with {process.returncode}: {' '.join(last)}")
        return connect()

    try:
        return wait_until("the Docker engine", answered, seconds=_START_SECONDS, errors=(HarnessError,))
    except RuntimeError as error:
        raise HarnessError(f"{error} (read {_LOG})") from None


def _ours() -> tuple[psutil.Process | None, bool]:
    """The engine that :func:`_start` started, if it still runs; and whether it is to be kept."""
    try:
        pid, created, kept = _PIDFILE.read_text().split()
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(created)) < 1
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None, False
    return (process if same else None), kept == "1"
