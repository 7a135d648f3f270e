"""Reads every migration before it runs: what would lose data, hold others up, or be refused when hosted.

A statement that is meant all the same says so in the file, on the line before it (or at its end), with the
rule and the reason:

    -- accept drop-column: nothing has read it since release 41; backed up on 2026-11-20
    alter table public.profiles drop column nickname;
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigurationError, Problem
from harness.migrations import Migration, migrations_in
from harness.sarif import file_location, log
from harness.sql.destructive import DESTRUCTIVE
from harness.sql.hosted import HOSTED
from harness.sql.known import Known
from harness.sql.locks import LOCKS, outside_transaction
from harness.sql.objections import Objection, Rules, objections
from harness.sql.source import Acceptance, SqlError, SqlSource, Statement, parsed

__all__ = ["RULES", "Flag", "Reading", "as_sarif", "read", "read_reverses", "read_tree", "rules_text"]

_FILE_RULES = {
    "not-sql": "PostgreSQL's own parser cannot read it",
    "accept": "a comment that accepts a rule names the rule and the reason, and stands at what it accepts",
}
RULES: dict[str, str] = {**DESTRUCTIVE.reasons, **LOCKS.reasons, **HOSTED.reasons, **_FILE_RULES}
"""Every rule by name, and why it is one."""

_FORWARD = (DESTRUCTIVE, LOCKS, HOSTED)
_REVERSE = (HOSTED,)  # to take things away is what a reverse is for


def rules_text() -> str:
    """The rules as a table for the documentation."""
    rows = [f"| `{rule}` | {why} |" for rule, why in RULES.items()]
    return "\n".join(["| rule | why |", "|---|---|", *rows])


@dataclass(frozen=True)
class Flag:
    """One objection, at ``path``:``line``."""

    path: str
    line: int
    rule: str
    what: str
    safer: str

    @property
    def where(self) -> str:
        """file:line."""
        return f"{self.path}:{self.line}"

    def __str__(self) -> str:
        why = RULES[self.rule]
        return f"{self.where}: {self.rule}: {self.what}\n    why    {why}\n    safer  {self.safer}"


@dataclass(frozen=True)
class Reading:
    """What was found in a set of files; what was ``accepted`` is file:line, rule and reason."""

    files: int
    flags: tuple[Flag, ...]
    accepted: tuple[tuple[str, str, str], ...] = ()


def as_sarif(reading: Reading) -> dict[str, Any]:
    """The objections as a SARIF log."""
    rules = {rule: why for rule, why in RULES.items() if any(flag.rule == rule for flag in reading.flags)}
    results = [
        {
            "ruleId": flag.rule,
            "level": "error",
            "message": {"text": f"{flag.what}: {RULES[flag.rule]}. Safer: {flag.safer}"},
            "locations": [{"physicalLocation": file_location(flag.where)}],
        }
        for flag in reading.flags
    ]
    return log("harness db lint", rules, results)


def read_tree(supabase: Path) -> Reading:
    """Read `migrations/` and `rollbacks/` of a `supabase/` directory.

    Raises:
        DeployError: when a file's name is no migration's.
        ConfigurationError: when there is no migration at all: nothing read is nothing vetted.
    """
    forward = read(migrations_in(supabase / "migrations"), supabase.parent)
    if not forward.files:
        problem = Problem(str(supabase / "migrations"), "holds no migration", "is it the right directory?")
        raise ConfigurationError([problem], title="migrations")
    back = read_reverses(sorted((supabase / "rollbacks").glob("*.sql")), supabase.parent)
    return Reading(forward.files + back.files, forward.flags + back.flags, forward.accepted + back.accepted)


def read(migrations: Iterable[Migration], root: Path) -> Reading:
    """Read migrations, oldest first; paths are shown relative to ``root``."""
    known, flags, accepted, count = Known(), [], [], 0
    for migration in migrations:
        count += 1
        known.begin_file()
        path = _shown(migration.path, root) if migration.path else migration.label
        found, agreed = _read_file(path, migration.text, _FORWARD, known)
        flags += found
        accepted += agreed
    return Reading(count, tuple(flags), tuple(accepted))


def read_reverses(paths: Iterable[Path], root: Path) -> Reading:
    """Read reverse migrations: only what a hosted project refuses is held against them."""
    flags, accepted, count = [], [], 0
    for path in paths:
        count += 1
        text = path.read_text(encoding="utf-8")
        found, agreed = _read_file(_shown(path, root), text, _REVERSE, Known())
        flags += found
        accepted += agreed
    return Reading(count, tuple(flags), tuple(accepted))


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _read_file(
    path: str, text: str, rules: tuple[Rules, ...], known: Known
) -> tuple[list[Flag], list[tuple[str, str, str]]]:
    try:
        source = parsed(text)
    except SqlError as error:
        return [Flag(path, error.line, "not-sql", error.what, "correct it")], []
    raised = [
        (statement, objection)
        for statement in source.flat()
        for objection in (*_judged(statement, rules, known), *_company(statement, source))
    ]
    used = {id(a): a for s, o in raised for a in source.acceptances if _accepts(a, s, o)}
    flags = [
        Flag(path, statement.line, objection.rule, objection.what, objection.safer)
        for statement, objection in raised
        if not any(_accepts(acceptance, statement, objection) for acceptance in used.values())
    ]
    flags += _misplaced(path, source, set(used))
    return flags, [(f"{path}:{a.line}", a.rule, a.reason) for a in used.values()]


def _judged(statement: Statement, rules: tuple[Rules, ...], known: Known) -> list[Objection]:
    found = objections(rules, statement, known)
    known.learn(statement.node)
    return found


def _company(statement: Statement, source: SqlSource) -> Iterator[Objection]:
    if outside_transaction(statement.node) and len(source.statements) > 1:
        what = "it runs outside the transaction that the rest of the file runs in"
        yield Objection("concurrently-alone", what, "put it into a migration of its own")


def _accepts(acceptance: Acceptance, statement: Statement, objection: Objection) -> bool:
    target = acceptance.statement
    return (
        bool(acceptance.reason)
        and acceptance.rule == objection.rule
        and target is not None
        and (target.start, target.end) == (statement.start, statement.end)
    )


def _misplaced(path: str, source: SqlSource, used: set[int]) -> Iterator[Flag]:
    """Comments that accept nothing: a typing error must not look like an agreement."""
    form = "-- accept RULE: the reason"
    for acceptance in source.acceptances:
        if acceptance.rule not in RULES:
            near = difflib.get_close_matches(acceptance.rule, RULES, n=1)
            hint = f"did you mean {near[0]}?" if near else "harness db rules lists them"
            yield Flag(path, acceptance.line, "accept", f"there is no rule {acceptance.rule}", hint)
        elif not acceptance.reason:
            yield Flag(path, acceptance.line, "accept", f"{acceptance.rule} without a reason", form)
        elif id(acceptance) not in used:
            what = f"{acceptance.rule} is accepted where nothing has it"
            yield Flag(
                path, acceptance.line, "accept", what, "remove the comment, or put it at its statement"
            )
