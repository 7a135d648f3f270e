"""Backups of a database: dumped by pg_dump, restored by pg_restore into a Supabase baseline.

A dump holds everything that a Supabase database starts with, too (the tables of auth and storage, guards,
extensions), and those belong to Supabase's own roles. A restore into a fresh project therefore leaves out
of the dump's table of contents whatever the fresh project has already, and loads the data of parents before
that of their children.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.errors import DeployError
from harness.providers.supabase_cli import Target
from harness.secrets import redact

__all__ = ["LEAVES_OUT", "Archive", "BackupError", "kept_backup", "schema_text"]

LEAVES_OUT = (
    "the files in Storage (only their rows are in the database)",
    "the roles and their passwords (they belong to the cluster; the deploy sets them)",
    "the project's JWT secret and keys",
)
"""What no backup of the database holds, and what has to be backed up otherwise."""

_ENTRY = re.compile(r"^\d+; \d+ \d+ (?P<what>.+) (?P<owner>\S+)$")
_NOISE = re.compile(r"^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*|\s*)$")

# Managed tables in the order in which their rows can be loaded.
_PARENTS = """
with recursive edges as (
    select conrelid as child, confrelid as parent from pg_constraint
    where contype = 'f' and conrelid <> confrelid
), depth (oid, level) as (
    select oid, 0 from pg_class where relkind in ('r', 'p')
    union
    select edges.child, depth.level + 1 from edges join depth on depth.oid = edges.parent
    where depth.level < 50
)
select n.nspname || ' ' || c.relname, max(level)
from depth join pg_class c using (oid) join pg_namespace n on n.oid = c.relnamespace
group by 1
"""


_KEPT = 3


def kept_backup(
    directory: Path, programs: Path, dsn: str, snapshot: str, extra: Sequence[str] = ()
) -> Path:
    """Dump ``dsn`` as of ``snapshot`` into ``directory``, which keeps the newest three; the new one.

    ``programs`` is where pg_dump is, of the server's own major version; ``extra`` are options for it.

    Raises:
        BackupError: when it cannot be dumped; the older ones stay.
    """
    path = directory / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{snapshot}.dump"
    Archive(path, programs).dump(dsn, snapshot, extra)
    for old in sorted(directory.glob("*.dump"), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return path


class BackupError(DeployError):
    """A backup could not be made, read or restored."""

    def __init__(self, what: str) -> None:
        super().__init__("supabase", what)


class Archive:
    """One dump file (pg_dump's custom format). ``programs`` is where pg_dump and pg_restore are."""

    def __init__(self, path: Path, programs: Path) -> None:
        self.path, self.programs = path, programs

    def dump(self, dsn: str, snapshot: str | None = None, extra: Sequence[str] = ()) -> None:
        """Write the file, complete or not at all.

        Raises:
            BackupError: when pg_dump fails.
        """
        part = self.path.with_suffix(".part")
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.touch(mode=0o600)
        options = ["--format=custom", f"--file={part}", *([f"--snapshot={snapshot}"] if snapshot else [])]
        with _login(dsn) as (conninfo, environment):
            self._run(["pg_dump", *options, *extra, f"--dbname={conninfo}"], environment)
        part.rename(self.path)

    def contents(self) -> list[str]:
        """The lines of the table of contents.

        Raises:
            BackupError: when the file is no readable dump.
        """
        listed = self._run(["pg_restore", "--list", str(self.path)], {})
        return [line for line in listed.splitlines() if _ENTRY.match(line)]

    def restore(self, dsn: str) -> None:
        """Restore into the database at ``dsn``, which has the Supabase baseline and nothing else.

        Raises:
            BackupError: when an entry cannot be restored; nothing is then left behind.
        """
        with tempfile.TemporaryDirectory(prefix="restore-", dir=self.path.parent) as directory:
            baseline = Archive(Path(directory) / "baseline.dump", self.programs)
            baseline.dump(dsn, extra=["--schema-only"])
            there = {_identity(line) for line in baseline.contents()}
            missing = [line for line in self.contents() if _identity(line) not in there]
            order = Path(directory) / "order"
            order.write_text("\n".join(_ordered(missing, _levels(dsn))) + "\n")
            options = ["--single-transaction", "--exit-on-error", f"--use-list={order}"]
            with _login(dsn) as (conninfo, environment):
                self._run(["pg_restore", *options, f"--dbname={conninfo}", str(self.path)], environment)

    def _run(self, argv: Sequence[str], environment: dict[str, str]) -> str:
        try:
            done = subprocess.run(
                [str(self.programs / argv[0]), *argv[1:]],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
                stdin=subprocess.DEVNULL,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **environment},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackupError(f"{argv[0]}: {error}") from None
        if done.returncode:
            raise BackupError(f"{argv[0]}: {redact(done.stderr.strip()[-500:])}")
        return done.stdout


def schema_text(
    dsn: str, programs: Path, snapshot: str | None = None, extra: Sequence[str] = ()
) -> list[str]:
    """The schema of the database at ``dsn`` as SQL, without what differs from dump to dump.

    ``extra`` are options for pg_dump. Neighbouring grants are sorted: their order is that in which they
    were given, and means nothing.

    Raises:
        BackupError: when pg_dump fails.
    """
    with tempfile.TemporaryDirectory(prefix="schema-") as directory:
        path = Path(directory) / "schema.sql"
        options = ["--schema-only", f"--file={path}", *extra]
        options += [f"--snapshot={snapshot}"] if snapshot else []
        with _login(dsn) as (conninfo, environment):
            Archive(path, programs)._run(["pg_dump", *options, f"--dbname={conninfo}"], environment)
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not _NOISE.match(line)]
        runs = itertools.groupby(lines, key=lambda line: line.startswith(("GRANT ", "REVOKE ")))
        return [line for grants, run in runs for line in (sorted(run) if grants else run)]


def _identity(line: str) -> str:
    """An entry of a table of contents without its numbers: what it is, its schema, name and owner."""
    match = _ENTRY.match(line)
    return f"{match['what']} {match['owner']}" if match else line


def _levels(dsn: str) -> dict[str, int]:
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute(_PARENTS.encode()).fetchall())


def _ordered(lines: list[str], levels: dict[str, int]) -> list[str]:
    """``lines`` with the data of tables that exist already put in the order of their foreign keys."""

    def level(line: str) -> int:
        what = _identity(line)
        return levels.get(" ".join(what.split(" ")[2:4]), -1) if what.startswith("TABLE DATA ") else -1

    managed = sorted((line for line in lines if level(line) >= 0), key=level)
    slots = iter(managed)
    return [next(slots) if level(line) >= 0 else line for line in lines]


@contextlib.contextmanager
def _login(dsn: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The connection string without its password, and an environment that leads to it."""
    target = Target.from_dsn(dsn)
    parts = {key: value for key, value in conninfo_to_dict(dsn).items() if key != "password"}
    with tempfile.NamedTemporaryFile("w", prefix="pgpass-") as passfile:  # mode 0600
        passfile.write(target.passfile_line)
        passfile.flush()
        yield make_conninfo("", **parts), {"PGPASSFILE": passfile.name}
