"""Brings a database's schema to what `supabase/` says: migrations by the real CLI, seed, logins."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from harness.errors import DeployError
from harness.migrations import RECORDED, Difference, Migration, compare, migrations_in
from harness.providers.base import Progress
from harness.providers.supabase_cli import SupabaseCli, Target, push
from harness.sql.lint import Flag, read

__all__ = ["Schema", "record_migrations", "recorded_migrations"]


def recorded_migrations(connection: psycopg.Connection) -> list[Migration]:
    """What the database behind ``connection`` says was applied to it; nothing when it keeps no record."""
    found = connection.execute("select to_regclass('supabase_migrations.schema_migrations')").fetchone()
    if found is None or found[0] is None:
        return []
    return [Migration.recorded(*row) for row in connection.execute(RECORDED)]


def record_migrations(connection: psycopg.Connection, migrations: Sequence[Migration]) -> None:
    """Write down that ``migrations`` are applied, in an empty database, as the Supabase CLI does."""
    connection.execute("create schema supabase_migrations")
    connection.execute(
        "create table supabase_migrations.schema_migrations"
        " (version text not null primary key, statements text[], name text)"
    )
    for migration in migrations:
        connection.execute(
            "insert into supabase_migrations.schema_migrations values (%s, %s, %s)",
            [migration.version, [migration.text], migration.name],
        )


@dataclass(frozen=True)
class Schema:
    """The declared schema (``source``: a `supabase/` directory) against the database at ``dsn``."""

    source: Path
    dsn: str
    cli: SupabaseCli
    seed: bool
    vet: bool = True
    """Whether :meth:`apply` refuses a migration that somebody would object to (:mod:`harness.sql.lint`)."""

    def difference(self) -> Difference:
        """How the migration files differ from what the database has recorded."""
        with psycopg.connect(self.dsn) as connection:
            return compare(migrations_in(self.source / "migrations"), recorded_migrations(connection))

    def changes(self) -> list[str]:
        """What :meth:`apply` would do, in words."""
        difference = self.difference()
        changes = [f"apply migration {migration.label}" for migration in difference.pending]
        refused = [f"refuse {flag.where}: {flag.what}" for flag in self.objections(difference)]
        return changes + refused + difference.describe() + (["seed"] if self._seed_is_due() else [])

    def objections(self, difference: Difference) -> list[Flag]:
        """What there is against the pending migrations of ``difference``; read, not run."""
        if not (self.vet and difference.pending):
            return []
        pending = {m.version for m in difference.pending}
        flags = read(migrations_in(self.source / "migrations"), self.source.parent).flags
        return [flag for flag in flags if Path(flag.path).name[:14] in pending]

    def apply(self, progress: Progress) -> list[str]:
        """Apply what is pending; returns what was done.

        Raises:
            DeployError: when the history has diverged, there is an objection to a pending migration, or
                one fails (it is then rolled back whole).
        """
        difference = self.difference()
        if difference.diverged:
            raise DeployError(
                "supabase",
                "the database's migration history and supabase/migrations disagree:\n    "
                + "\n    ".join(difference.describe()),
                _hint(difference),
            )
        if flags := self.objections(difference):
            raise DeployError(
                "supabase",
                "\n    ".join(["nothing was applied: there are objections", *map(str, flags)]),
                "write it the safer way, or put before the statement: -- accept RULE: the reason",
            )
        done = []
        if difference.pending:
            progress(f"applying {len(difference.pending)} migrations")
            target = Target.from_dsn(self.dsn)
            with self.cli.project(self.source) as project:
                self.cli.must(push(target), project, target)
            done = [f"applied migration {migration.label}" for migration in difference.pending]
        if self._seed_is_due():
            progress("seeding")
            self._sow()
            done.append("seeded")
        return done

    def digest(self) -> str:
        """What identifies the declared schema: migrations and seed, by content."""
        files = [*sorted((self.source / "migrations").glob("*.sql")), *([self._file] if self.seed else [])]
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()

    # The record of seeds is the CLI's own table, so that it and the harness agree on what was sown.

    @property
    def _file(self) -> Path:
        return self.source / "seed.sql"

    def _seed_is_due(self) -> bool:
        if not self.seed:
            return False
        with psycopg.connect(self.dsn) as connection:
            there = connection.execute("select to_regclass('supabase_migrations.seed_files')").fetchone()
            if there is None or there[0] is None:
                return True
            row = connection.execute(
                "select hash from supabase_migrations.seed_files where path = 'supabase/seed.sql'"
            ).fetchone()
        return row is None or row[0] != hashlib.sha256(self._file.read_bytes()).hexdigest()

    def _sow(self) -> None:
        content = self._file.read_bytes()
        try:
            with psycopg.connect(self.dsn) as connection:
                connection.execute(content)
                connection.execute(
                    "create table if not exists supabase_migrations.seed_files"
                    " (path text not null primary key, hash text not null)"
                )
                connection.execute(
                    "insert into supabase_migrations.seed_files values ('supabase/seed.sql', %s)"
                    " on conflict (path) do update set hash = excluded.hash",
                    [hashlib.sha256(content).hexdigest()],
                )
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise DeployError("supabase", f"supabase/seed.sql: {error}", "mend the seed") from error


def _hint(difference: Difference) -> str:
    """What to do about a diverged history."""
    if difference.late or difference.edited:
        return "never edit or remove an applied migration: restore the file and write a new one"
    names = ", ".join(migration.label for migration in reversed(difference.unknown))
    return (
        "the database is ahead of this release. Deploy the release that applied it; or, to go back, apply "
        f"the reverses of {names}, in this order (docs/promotion.md, It went wrong)"
    )
