"""The deploy lock of an environment: no two deploy at once, and nobody is locked out by the dead.

It is a lease. A process on the machine holds a kernel lock (flock) for as long as it hears from us over its
ssh channel. When this process dies, however, the channel closes and the kernel lets go; when the network
dies, the holder hears nothing for ``LEASE_SECONDS`` and ends. There is no file to clean up and no pid to
guess about; the file beside the lock only says who it is. Whoever lost the lease must stop:
:meth:`DeployLock.require` says so before every step.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import DeployError, Unreachable
from harness.hosts.conversation import Conversation
from harness.hosts.ssh import Remote
from harness.provenance import who

__all__ = ["LEASE_SECONDS", "DeployLock", "Holder", "deploy_lock", "holder"]

LEASE_SECONDS = 20
"""The holder lets go when it has heard nothing for this long."""
BEAT_SECONDS = 4.0
_ANSWER_SECONDS = 10.0
_HOLD = """\
umask 022
exec 9>>{path} || exit 1
IFS= read -r -t {lease} who || exit 1
flock -n 9 || {{ echo "taken $(cat {path})"; exit 0; }}
truncate -s 0 {path}
printf '%s\\n' "$who" >{path}
echo held
while IFS= read -r -t {lease} beat; do :; done
truncate -s 0 {path}
"""


@dataclass(frozen=True)
class Holder:
    """Who deploys: a person or pipeline, the machine and pid of the run, since when (UTC)."""

    who: str
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"{self.who} (pid {self.pid} on {self.host}), since {self.since}"


class DeployLock:
    """A held lock."""

    def __init__(self, environment: str, holder: Conversation) -> None:
        self._environment, self._holder = environment, holder
        self._done = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    def require(self) -> None:
        """Go on only if the lock is still ours.

        Raises:
            DeployError: when it was lost; somebody else may be deploying now.
        """
        if self._holder.ended:
            what = f"lost the deploy lock of {self._environment}: the connection to its machine broke"
            raise DeployError("gateway", what, "run it again: it goes on from what is there")

    def stop(self) -> None:
        """Send no more signs of life."""
        self._done.set()
        self._beating.join(_ANSWER_SECONDS)

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                self._holder.say(b"beat\n")
            except (Unreachable, OSError, ValueError):  # it is gone; `require` says so
                return


@contextlib.contextmanager
def deploy_lock(remote: Remote, machine: str, environment: str) -> Iterator[DeployLock]:
    """Hold the lock of ``environment``, which ``machine`` keeps, for the block.

    Raises:
        DeployError: when somebody else has it: says who, from where, since when.
        Unreachable: when the machine does not let us in.
    """
    script = _HOLD.format(path=_path(environment), lease=LEASE_SECONDS)
    with remote.talking(machine, ["bash", "-c", script]) as program:
        program.say(f"{_us()}\n".encode())
        said, _, rest = program.line(_ANSWER_SECONDS).decode("utf-8", "replace").strip().partition(" ")
        if said != "held":
            what = f"somebody else deploys {environment}: {_parsed(rest) or 'just started'}"
            raise DeployError("gateway", what, "wait for it, or ask them to stop")
        lock = DeployLock(environment, program)
        try:
            yield lock
        finally:
            lock.stop()


def holder(remote: Remote, machine: str, environment: str) -> Holder | None:
    """Who holds the lock of ``environment`` now; nobody: None.

    Raises:
        Unreachable: when the machine does not let us in.
    """
    path = _path(environment)
    script = f"test -e {path} || exit 0\nexec 9<{path}\nflock -n 9 || cat {path}\n"
    return _parsed(remote.script(machine, script).text)


def _path(environment: str) -> str:
    return shlex.quote(f"/run/lock/harness-{environment}.lock")


def _us() -> str:
    """Who we are, for whoever comes next, in one line."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"who": who(), "host": socket.gethostname(), "pid": os.getpid(), "since": now})


def _parsed(text: str) -> Holder | None:
    try:
        found = json.loads(text.strip())
        return Holder(str(found["who"]), str(found["host"]), int(found["pid"]), str(found["since"]))
    except (ValueError, KeyError, TypeError):
        return None
