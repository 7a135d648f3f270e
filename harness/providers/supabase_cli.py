"""The real Supabase CLI: pure argv builders, and a thin executor.

No password is ever an argument: the CLI is given a URL without one, and reads it from a file that libpq
knows (PGPASSFILE, mode 0600). HOME points into the state directory, so nothing is written into the user's
home, and the project is a copy, so nothing is written into the checkout.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from harness.errors import DeployError
from harness.secrets import redact

__all__ = ["SupabaseCli", "Target", "advisors", "asked_advisors", "migration_new", "push", "start", "stop"]

_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
_SHORT_LIVED = {"BUN_JSC_useDFGJIT": "0", "BUN_JSC_useConcurrentGC": "0"}
"""The CLI is a Bun program that runs for half a second: to optimize it costs a third more than it saves."""


@dataclass(frozen=True)
class Target:
    """A database as the CLI is told about it; ``password`` stays out of :attr:`url`.

    ``authority`` is the file that the server's certificate is checked against (without one: the authorities
    of the system and Supabase's own).
    """

    host: str
    port: int
    user: str
    password: str
    database: str
    sslmode: str = "disable"
    authority: str = ""

    @classmethod
    def from_dsn(cls, dsn: str) -> Target:
        """From a libpq connection string, and libpq's variables for what it leaves out.

        TLS is demanded wherever the host is not loopback.
        """
        given = {word: os.environ[name] for word, name in _VARIABLES.items() if os.environ.get(name)}
        parts = given | {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
        host = parts.get("host", "127.0.0.1")
        loopback = host in ("127.0.0.1", "::1", "localhost")
        return cls(
            host,
            int(parts.get("port", "5432")),
            parts.get("user", "postgres"),
            parts.get("password") or _from_passfile(parts),
            parts.get("dbname", "postgres"),
            parts.get("sslmode", "disable" if loopback else "verify-full"),
            parts.get("sslrootcert", ""),
        )

    @property
    def url(self) -> str:
        """Without a password: safe in an argument list."""
        user, database = quote(self.user, safe=""), quote(self.database, safe="")
        authority = f"&sslrootcert={quote(self.authority)}" if self.authority else ""
        return f"postgresql://{user}@{self.host}:{self.port}/{database}?sslmode={self.sslmode}{authority}"

    @property
    def passfile_line(self) -> str:
        """The line of a libpq password file for this database."""
        fields = (self.host, str(self.port), self.database, self.user, self.password)
        return ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields) + "\n"


def _from_passfile(parts: dict[str, str]) -> str:
    """The password that libpq would find in its password file; empty without one."""
    path = Path(parts.get("passfile") or os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")
    defaults = {"host": "127.0.0.1", "port": "5432", "dbname": "postgres", "user": "postgres"}
    wanted = [parts.get(word, default) for word, default in defaults.items()]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    for line in lines:
        fields = [re.sub(r"\\(.)", r"\1", field) for field in re.findall(r"((?:\\.|[^:\\])*)(?::|$)", line)]
        fits = all(field in ("*", want) for field, want in zip(fields, wanted, strict=False))
        if len(fields) >= 5 and fits and not line.startswith("#"):
            return fields[4]
    return ""


def push(target: Target, *, dry_run: bool = False) -> list[str]:
    """Apply pending migrations (``dry_run``: only name them)."""
    return [
        "db",
        "push",
        f"--remote={target.url}",
        "--skip-vault",
        *(["--dry-run"] if dry_run else ["--yes"]),
    ]


def advisors(target: Target, *, kind: str = "security", fail_on: str = "warn") -> list[str]:
    """Lint the live schema; JSON on standard output, exit code 1 from the level ``fail_on`` on."""
    options = ["--type", kind, "--level", "info", "--fail-on", fail_on, "-o", "json"]
    return ["db", "advisors", f"--remote={target.url}", *options]


def migration_new(name: str) -> list[str]:
    """Create an empty migration called ``name``, its version being now."""
    return ["migration", "new", name]


def start(exclude: Sequence[str] = ("edge-runtime", "logflare", "vector", "realtime")) -> list[str]:
    """Start the CLI's own stack of containers (needs a Docker engine) without the services ``exclude``."""
    return ["start", "--yes", *(["--exclude", ",".join(exclude)] if exclude else [])]


def stop() -> list[str]:
    """Stop that stack; its data stays."""
    return ["stop"]


@dataclass(frozen=True)
class Result:
    """What a command of the CLI ended with."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as JSON; an empty list when there is none ("No issues found")."""
        text = self.out.strip()
        return json.loads(text) if text else []


class SupabaseCli:
    """Runs the CLI of ``root`` (tools/node_modules) with everything that it writes under ``state``."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root, self.state = root, state
        self.executable = root / "tools" / "node_modules" / ".bin" / "supabase"

    @contextlib.contextmanager
    def project(self, source: Path | None = None) -> Iterator[Path]:
        """A copy of ``supabase/`` (``source``) to work in; yields the directory that contains it."""
        self.state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="project-", dir=self.state) as name:
            ignore = shutil.ignore_patterns(".temp", ".branches")
            shutil.copytree(source or self.root / "supabase", Path(name) / "supabase", ignore=ignore)
            yield Path(name)

    def run(
        self, argv: Sequence[str], project: Path, target: Target | None = None, *, seconds: float = 60.0
    ) -> Result:
        """Run ``argv`` in ``project``; ``target`` brings the password; the caller judges the exit code.

        Raises:
            DeployError: when the CLI is not installed, or takes longer than ``seconds``.
        """
        if not self.executable.exists():
            raise DeployError("supabase", "the Supabase CLI is not installed", "make setup")
        nice = ["nice"] if shutil.which("nice") else []  # what is judged by the clock meanwhile goes first
        command = [*nice, str(self.executable), *argv, "--workdir", str(project)]
        with self._environment(target) as environment:
            try:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    timeout=seconds,
                    check=False,
                    stdin=subprocess.DEVNULL,
                    cwd=project,
                    env=environment,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise DeployError("supabase", f"supabase {' '.join(argv[:2])}: {error}") from None
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr)

    def must(
        self, argv: Sequence[str], project: Path, target: Target | None = None, *, seconds: float = 60.0
    ) -> Result:
        """The same, where only exit code 0 will do.

        Raises:
            DeployError: on any other; the message ends with what the CLI said.
        """
        result = self.run(argv, project, target, seconds=seconds)
        if result.code:
            said = redact((result.out + result.err).strip()[-1500:])
            what = f"supabase {' '.join(argv[:2])} ended with {result.code}: {said}"
            raise DeployError("supabase", what)
        return result

    @contextlib.contextmanager
    def _environment(self, target: Target | None) -> Iterator[dict[str, str]]:
        home = self.state / "home"
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "DO_NOT_TRACK": "1",
            "SUPABASE_TELEMETRY_DISABLED": "1",
            "NO_COLOR": "1",
            "NO_UPDATE_NOTIFIER": "1",
            **_SHORT_LIVED,
        }
        if "DOCKER_HOST" in os.environ:
            environment["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
        if target is None:
            yield environment
            return
        with tempfile.NamedTemporaryFile("w", dir=home, prefix="pgpass-") as passfile:  # mode 0600
            passfile.write(target.passfile_line)
            passfile.flush()
            yield {**environment, "PGPASSFILE": passfile.name}


def asked_advisors(cli: SupabaseCli, target: Target, source: Path | None = None) -> list[dict[str, Any]]:
    """The lints of the security advisors.

    Raises:
        DeployError: when they cannot run; no lints would look like no advice.
    """
    with cli.project(source) as project:
        result = cli.run(advisors(target), project, target)
    lints: list[dict[str, Any]] = result.json()
    if result.code and not lints:
        said = redact((result.err or result.out).strip()[-300:])
        raise DeployError("supabase", f"supabase db advisors ended with {result.code}: {said}")
    return lints
