"""ssh with connection reuse and pinned host keys: one connection a machine, shared by everything of a run.

OpenSSH itself does the work (`ControlMaster auto` with a ControlPath, so a command costs a round trip and
not a handshake). Host keys are checked strictly against the environment's own known_hosts file; the user's
ssh configuration, agent and keys are not used. Commands are argv lists, quoted for the remote shell in one
place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.environment.machines import Machines
from harness.errors import HarnessError, Unreachable
from harness.hosts.commands import CommandFailed, CommandResult, last_words
from harness.hosts.conversation import Conversation
from harness.hosts.ssh_options import CONNECT_SECONDS, Files, ssh_argv, ssh_configuration
from harness.secrets import Secret
from harness.waiting import wait_until

__all__ = ["CommandFailed", "CommandResult", "Remote"]

_SSH_FAILED = 255
"""ssh's own exit status when it could not connect or log in; commands of ours never use it."""


class Remote:
    """The machines of one environment. Thread-safe; :meth:`close` ends every connection."""

    def __init__(self, machines: Machines, key: Secret, root: Path, state: Path) -> None:
        self._machines = machines
        directory = state / "ssh"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        short = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:10]
        sockets = Path(tempfile.gettempdir()) / f"harness-{os.getuid()}-{short}"
        sockets.mkdir(mode=0o700, exist_ok=True)
        if sockets.stat().st_uid != os.getuid() or sockets.is_symlink():
            raise HarnessError(f"{sockets} belongs to somebody else: remove it")
        self._files = Files(directory / "key", root / machines.ssh.known_hosts, sockets)
        self._write_key(key)
        self._opening: dict[str, threading.Lock] = {
            machine.name: threading.Lock() for machine in machines.hosts
        }
        self._opened: set[str] = set()

    def run(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        sudo: bool = False,
        seconds: float = 30.0,
    ) -> CommandResult:
        """Run ``argv`` on ``machine``; the result, whatever its status.

        Raises:
            Unreachable: no connection, a wrong host key, no login, or no end within ``seconds``.
        """
        self._open(machine)
        command = shlex.join(["sudo", "-n", "--", *argv] if sudo else argv)
        done = self._ssh(machine, [command], stdin, seconds)
        if done.returncode == _SSH_FAILED:
            raise Unreachable(machine, last_words(done.stderr))
        return CommandResult(machine, tuple(argv), done.returncode, done.stdout, done.stderr)

    def script(
        self, machine: str, text: str, *, sudo: bool = False, seconds: float = 30.0
    ) -> CommandResult:
        """Run a POSIX shell script on ``machine`` in one round trip; it travels on standard input."""
        return self.run(machine, ["sh", "-s"], stdin=text.encode(), sudo=sudo, seconds=seconds)

    def everywhere(
        self, work: Mapping[str, Sequence[str]], *, sudo: bool = False, seconds: float = 30.0
    ) -> dict[str, CommandResult | Unreachable]:
        """Run one command on each machine, all at once; an unreachable machine is its own answer."""

        def one(name: str) -> CommandResult | Unreachable:
            try:
                return self.run(name, work[name], sudo=sudo, seconds=seconds)
            except Unreachable as error:
                return error

        with ThreadPoolExecutor(max(1, len(work))) as pool:
            return dict(zip(work, pool.map(one, work), strict=True))

    def configuration(self, machine: str) -> Path:
        """A file for `ssh -F` with which other tools use our connection to ``machine``, which stands.

        Raises:
            Unreachable: no connection, a wrong host key, no login.
        """
        self._open(machine)
        path = self._files.key.with_name("config")
        new = path.with_name(f"config.{os.getpid()}.{threading.get_ident()}")
        new.write_text(ssh_configuration(self._machines, self._files), encoding="utf-8")
        new.replace(path)
        return path

    @contextlib.contextmanager
    def talking(self, machine: str, argv: Sequence[str], *, sudo: bool = False) -> Iterator[Conversation]:
        """Run ``argv`` on ``machine`` and talk with it, line by line; ended with the block.

        Raises:
            Unreachable: no connection, a wrong host key, no login.
        """
        self._open(machine)
        command = shlex.join(["sudo", "-n", "--", *argv] if sudo else argv)
        with subprocess.Popen(
            [*self._argv(machine), command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield Conversation(machine, process)
            finally:
                process.kill()

    def put(self, machine: str, path: str, content: bytes, *, mode: int = 0o644, sudo: bool = True) -> None:
        """Write ``content`` to ``path`` on ``machine``: whole or not at all (a new file, then a rename).

        Raises:
            Unreachable, CommandFailed: when it cannot be written.
        """
        quoted, new = shlex.quote(path), shlex.quote(f"{path}.new-{os.getpid()}")
        steps = f"umask 077 && cat >{new} && chmod {mode:o} {new} && sync {new} && mv -f {new} {quoted}"
        self.run(machine, ["sh", "-c", steps], stdin=content, sudo=sudo, seconds=120.0).require()

    @contextlib.contextmanager
    def forwarded(
        self, machine: str, there: str, *, reverse: bool = False, here: str = ""
    ) -> Iterator[str]:
        """Lead ``there`` on ``machine`` to this machine for as long as the block lasts.

        ``there`` is a socket's path, or HOST:PORT as the machine sees it. Yields what to connect to here:
        a socket's path, or 127.0.0.1:PORT. With ``reverse`` the other way round: ``here`` (HOST:PORT on
        this machine) can be reached on ``machine`` as ``there``; yields ``there``.

        Raises:
            Unreachable, HarnessError: when it cannot be led.
        """
        self._open(machine)
        if reverse:
            flag, local, specification = "-R", there, f"{there}:{here}"
        else:
            local = here or self._local(there)
            flag, specification = "-L", f"{local}:{there}"
        self._control(machine, "forward", flag, specification)
        try:
            yield local
        finally:
            with contextlib.suppress(HarnessError):  # the connection is gone: so is the way
                self._control(machine, "cancel", flag, specification)
            if local.startswith("/"):
                Path(local).unlink(missing_ok=True)

    def lead(self, machine: str, there: str) -> str:
        """The same for HOST:PORT and until :meth:`close`: 127.0.0.1:PORT to connect to here."""
        self._open(machine)
        local = self._local(there)
        self._control(machine, "forward", "-L", f"{local}:{there}")
        return local

    def close(self) -> None:
        """End every connection; what this opened is left on no machine."""
        for name in sorted(self._opened):
            with contextlib.suppress(HarnessError):  # it has ended by itself
                self._control(name, "exit")
        self._opened.clear()
        with contextlib.suppress(OSError):  # another run of this environment still has sockets there
            self._files.sockets.rmdir()

    def drop(self, machine: str) -> None:
        """Forget the connection to ``machine``: it is about to restart, or has."""
        with contextlib.suppress(HarnessError):
            self._control(machine, "exit")
        self._opened.discard(machine)

    def login_anew(self, machine: str) -> bool:
        """Whether a new connection, beside those that are open, gets in.

        Raises:
            Unreachable: when it does not; says why.
        """
        argv = self._argv(machine)
        done = self._run(machine, [argv[0], "-o", "ControlPath=none", *argv[1:], "true"], b"", 10.0)
        if done.returncode:
            raise Unreachable(machine, last_words(done.stderr))
        return True

    def await_login(self, machine: str, seconds: float) -> None:
        """Wait until ``machine`` lets us in (after a reboot).

        Raises:
            DeadlineExceeded: when it does not within ``seconds``.
        """
        self.drop(machine)
        wait_until(
            f"a login on {machine}",
            lambda: self.run(machine, ["true"], seconds=CONNECT_SECONDS + 1.0).status == 0,
            seconds=seconds,
            errors=(Unreachable,),
        )

    # --- inside ----------------------------------------------------------------------------------

    def _write_key(self, key: Secret) -> None:
        text = key.reveal().strip() + "\n"
        descriptor = os.open(self._files.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)

    def _argv(self, machine: str) -> list[str]:
        return ssh_argv(self._machines.host(machine), self._machines.ssh.user, self._files)

    def _open(self, machine: str) -> None:
        """One master connection before anything else, so that many threads do not each make their own."""
        with self._opening[machine]:
            if machine in self._opened and self._files.socket(self._machines.host(machine)).exists():
                return  # else it ended: ssh gives an idle one up after a while
            done = self._ssh(machine, ["true"], b"", CONNECT_SECONDS + 5.0)
            if done.returncode:
                raise Unreachable(machine, last_words(done.stderr))
            self._opened.add(machine)

    def _ssh(
        self, machine: str, command: Sequence[str], stdin: bytes, seconds: float
    ) -> subprocess.CompletedProcess[bytes]:
        return self._run(machine, [*self._argv(machine), *command], stdin, seconds)

    def _run(
        self, machine: str, argv: Sequence[str], stdin: bytes, seconds: float
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(machine, f"no end of the command within {seconds:g} s") from None
        except FileNotFoundError:
            raise HarnessError(
                "there is no ssh on this machine (Debian: apt install openssh-client)"
            ) from None

    def _control(self, machine: str, action: str, *arguments: str) -> None:
        argv = self._argv(machine)
        done = subprocess.run(
            [*argv[:-1], "-O", action, *arguments, argv[-1]], capture_output=True, timeout=10, check=False
        )
        if done.returncode:
            raise HarnessError(
                f"{machine}: ssh -O {action} {shlex.join(arguments)}: {last_words(done.stderr)}"
            )

    def _local(self, there: str) -> str:
        if there.startswith("/"):
            return str(self._files.sockets / f"s{secrets.token_hex(6)}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"
