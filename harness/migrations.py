"""Migrations as files and as a database records them, and how the two differ. Pure; no I/O but reading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DeployError
from harness.sql.source import SqlError, tokens

__all__ = [
    "RECORDED",
    "Difference",
    "Migration",
    "compare",
    "migration_named",
    "migrations_in",
    "rollback_of",
]

RECORDED = (
    "select version, coalesce(name, ''), statements from supabase_migrations.schema_migrations order by 1"
)
"""What the Supabase CLI keeps about migrations that it has applied."""

_NAME = re.compile(r"^(\d{14})_([a-z0-9_]+)\.sql$")


@dataclass(frozen=True)
class Migration:
    """One migration: ``version`` orders it; ``text`` is its SQL, from the file or from the record."""

    version: str
    name: str
    text: str
    path: Path | None = None

    @classmethod
    def recorded(cls, version: str, name: str, statements: Sequence[str] | None) -> Migration:
        """From a row of :data:`RECORDED`."""
        return cls(version, name, "\n;\n".join(statements or ()))

    @property
    def label(self) -> str:
        """As the file is called, without `.sql`."""
        return f"{self.version}_{self.name}"

    def says_the_same_as(self, other: Migration) -> bool:
        """Whether the SQL is the same: comments, white space and semicolons say nothing to PostgreSQL."""
        return self.text == other.text or self.words() == other.words()

    def words(self) -> list[str]:
        """The words of the SQL; of a text that is none, what stands between white space."""
        try:
            return tokens(self.text)
        except SqlError:
            return self.text.replace(";", " ").split()


@dataclass(frozen=True)
class Difference:
    """How files and record differ; all empty: they agree."""

    pending: tuple[Migration, ...] = ()
    """Files that are not recorded, and newer than everything that is."""
    late: tuple[Migration, ...] = ()
    """Files that are not recorded although a newer one is."""
    edited: tuple[Migration, ...] = ()
    """Files that say something else than what was applied."""
    unknown: tuple[Migration, ...] = ()
    """Recorded versions without a file."""

    @property
    def diverged(self) -> bool:
        """Whether pushing would not (or must not) help."""
        return bool(self.late or self.edited or self.unknown)

    def describe(self) -> list[str]:
        """One line for each thing that keeps the history from being pushed."""
        return [
            *(f"{m.label} is older than what is applied, and was never applied" for m in self.late),
            *(f"{m.label} was edited after it had been applied" for m in self.edited),
            *(f"version {m.version} ({m.name}) is applied, but has no file" for m in self.unknown),
        ]


def migrations_in(directory: Path) -> list[Migration]:
    """The migrations in ``directory``, oldest first.

    Raises:
        DeployError: when a file is not named VERSION_name.sql, or two have one version.
    """
    found: dict[str, Migration] = {}
    for path in sorted(directory.glob("*.sql")):
        try:
            migration = migration_named(path, path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise DeployError("supabase", f"{path.name} is not UTF-8", "save it as UTF-8") from None
        if not migration:
            hint = "name it YYYYMMDDhhmmss_words.sql, by a real time, in lower case"
            raise DeployError("supabase", f"{path.name} is no migration", hint)
        if migration.version in found:
            other = found[migration.version].label
            raise DeployError("supabase", f"{path.name} and {other}.sql have one version")
        found[migration.version] = migration
    return list(found.values())


def migration_named(path: Path, text: str) -> Migration | None:
    """The migration that a file's name makes of ``text``; none when the name is no migration's."""
    match = _NAME.match(path.name)
    return Migration(match[1], match[2], text, path) if match else None


def rollback_of(migration: Migration) -> Path:
    """Where the reverse of a migration from a file is, or has to be."""
    if migration.path is None:
        raise ValueError("a recorded migration has no file")
    return migration.path.parent.parent / "rollbacks" / migration.path.name


def compare(files: Iterable[Migration], recorded: Iterable[Migration]) -> Difference:
    """How ``files`` differ from what is ``recorded``."""
    applied = {migration.version: migration for migration in recorded}
    wanted = {migration.version: migration for migration in files}
    newest = max(applied, default="")
    missing = [m for version, m in sorted(wanted.items()) if version not in applied]
    return Difference(
        pending=tuple(m for m in missing if m.version > newest),
        late=tuple(m for m in missing if m.version < newest),
        edited=tuple(
            m for v, m in sorted(wanted.items()) if v in applied and not m.says_the_same_as(applied[v])
        ),
        unknown=tuple(m for version, m in sorted(applied.items()) if version not in wanted),
    )
