"""What somebody must see before they approve: the verdict, what would change, and the way back."""

from __future__ import annotations

import difflib
import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.attestation.statement import TestResult
from harness.errors import Problem
from harness.gate import Decision
from harness.gate_evidence import Sealed
from harness.history import Running
from harness.migrations import migrations_in, rollback_of
from harness.promotion import Promotion
from harness.provenance import git_environ
from harness.release import Release
from harness.sql.destructive import DESTRUCTIVE
from harness.sql.lint import read
from harness.sql.source import SqlError, parsed

__all__ = ["MigrationChange", "View", "look", "meaning", "short", "waived", "way_back"]

NEW = "new"

_SECONDS = 5.0
_COMMITS = 30


@dataclass(frozen=True)
class MigrationChange:
    """A migration that would run, or is not what it was. ``reverse``: whether a rollback is written."""

    file: str
    kind: str
    sql: str
    reverse: bool
    statements: int = 0
    dangers: tuple[str, ...] = ()
    """Each statement that loses data, or takes away what the running release uses: line, rule, reason."""

    @property
    def told(self) -> str:
        """What it is, in words."""
        reverse = "can be reversed" if self.reverse else "has no reverse"
        return f"{self.kind}, {reverse}" if self.kind == NEW else self.kind


@dataclass(frozen=True)
class View:
    """Everything that the decision page shows."""

    environment: str
    predecessor: str
    release: Release
    decision: Decision
    evidence: Sealed | None
    running: Running | None
    migrations: tuple[MigrationChange, ...]
    configuration: tuple[str, ...]
    commits: tuple[str, ...]

    @property
    def blocking(self) -> tuple[Problem, ...]:
        """The reasons that no approval would remove."""
        return tuple(reason for reason in self.decision.reasons if reason.where != "gate.approvals")

    @property
    def verdict(self) -> str:
        """GO: the gate is open; WAITS: only for an approval; NO-GO."""
        if self.decision.open:
            return "GO"
        return "NO-GO" if self.blocking else "WAITS"

    @property
    def result(self) -> TestResult | None:
        """What the evidence says; None unless its signature was verified."""
        return self.decision.statement.predicate if self.decision.statement else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why what is said to run there now may not be what does."""
        if self.running is None:
            return ()
        unverified = self.running.unverified
        told = (f"what runs there now is {unverified}" if unverified else "", self.running.unproven)
        return tuple(warning for warning in told if warning)

    @property
    def artefacts(self) -> list[tuple[str, str, str]]:
        """Name, digest that runs there now (empty: none), and that would run; what changes comes first."""
        now = self.running.release.subjects if self.running else {}
        rows = [
            (name, now.get(name, ""), self.release.subjects.get(name, ""))
            for name in sorted({*now, *self.release.subjects})
        ]
        return sorted(rows, key=lambda row: row[1] == row[2])


def look(promotion: Promotion, decision: Decision, running: Running | None) -> View:
    """The view of ``promotion``, about which the gate has just said ``decision``."""
    root, release = promotion.root, promotion.release
    text = promotion.content.decode("utf-8", "replace")
    before = running.release if running else None
    return View(
        environment=promotion.environment.environment,
        predecessor=promotion.environment.predecessor or "",
        release=release,
        decision=decision,
        evidence=promotion.evidence,
        running=running,
        migrations=tuple(_migrations(root, before)),
        configuration=tuple(_diff(running.environment_file, text)) if running else (),
        commits=tuple(_commits(root, before, release)),
    )


def _migrations(root: Path, before: Release | None) -> list[MigrationChange]:
    """What the tree would apply: never what a release.json says, which the gate only compares with it."""
    applied = before.migrations if before else {}
    changes, here, dangers = [], set(), _dangers(root)
    for migration in migrations_in(root / "supabase" / "migrations"):
        assert migration.path is not None  # noqa: S101 - for the type checker: it is from a file
        file = migration.path.name
        here.add(file)
        if applied.get(file) == f"sha256:{hashlib.sha256(migration.path.read_bytes()).hexdigest()}":
            continue
        kind = "edited after it had been applied" if file in applied else NEW
        reverse, sql = rollback_of(migration).is_file(), migration.text
        changes.append(MigrationChange(file, kind, sql, reverse, _count(sql), dangers.get(file, ())))
    gone = [file for file in applied if file not in here]
    return changes + [
        MigrationChange(file, "applied there, and not in this release", "", False) for file in gone
    ]


def _count(sql: str) -> int:
    try:
        return len(parsed(sql).statements)
    except SqlError:
        return 0


def _dangers(root: Path) -> dict[str, tuple[str, ...]]:
    """File: what in it destroys; an objection that somebody has accepted included, with the reason."""
    found = read(migrations_in(root / "supabase" / "migrations"), root)
    told = [(flag.where, flag.rule, flag.what) for flag in found.flags]
    told += [(where, rule, f"accepted: {reason}") for where, rule, reason in found.accepted]
    dangers: dict[str, tuple[str, ...]] = {}
    for where, rule, what in told:
        if rule in DESTRUCTIVE.reasons:
            name, _, line = where.rpartition("/")[2].partition(":")
            dangers[name] = (*dangers.get(name, ()), f"line {line}: {rule}: {what}")
    return dangers


def _diff(before: str, after: str) -> Sequence[str]:
    """What changes between two environment files, in lines, with a line around each."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "runs there now", "would run", "", "", 1, ""
    )
    return list(lines)


def _commits(root: Path, before: Release | None, release: Release) -> list[str]:
    """The commits between the two releases, where git knows both."""
    if before is None or not before.source.commit or before.source.commit == release.source.commit:
        return []
    span = f"{before.source.commit}..{release.source.commit}"
    argv = [
        "git",
        "-c",
        f"safe.directory={root.resolve()}",
        "-C",
        str(root),
        "log",
        "--oneline",
        "--no-decorate",
    ]
    try:
        done = subprocess.run(
            [*argv, f"-{_COMMITS}", span],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=git_environ(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def meaning(view: View) -> str:
    """The verdict in a sentence."""
    if view.verdict == "GO":
        by = ", ".join(view.decision.approved_by)
        return f"{view.release.name} may enter {view.environment}" + (f": approved by {by}." if by else ".")
    if view.verdict == "WAITS":
        return f"{view.release.name} may enter {view.environment} as soon as it is approved."
    count = len(view.blocking)
    reasons = "one reason" if count == 1 else f"{count} reasons"
    return f"{view.release.name} may not enter {view.environment}: {reasons} against it."


def way_back(view: View) -> list[tuple[str, str]]:
    """Component: what to do when it goes wrong."""
    if view.running is None:
        first = f"nothing has passed in {view.environment} before: there is no release to go back to"
        return [("first release", first)]
    old = view.running.release
    reverses = [m.file for m in reversed(view.migrations) if m.kind == NEW and m.reverse]
    stuck = [m.file for m in view.migrations if m.kind == NEW and not m.reverse]
    database = f"apply supabase/rollbacks/{', '.join(reverses)}" if reverses else "nothing to reverse"
    if stuck:
        database = f"{', '.join(stuck)} has no reverse: restore the newest backup"
    return [
        (
            "web app",
            f"serve the previous deployment again (web-build {short(old.artefacts.get('web-build', '?'))})",
        ),
        ("gateway", f"deploy the image again: {old.image or 'none is known'}"),
        ("database", database),
        ("inference", f"start again with the configuration of commit {old.source.commit[:12] or '?'}"),
    ]


def waived(result: TestResult) -> list[str]:
    """Every waiver of the run, every test that passed only by it, and every finding that it accepts."""
    listed = []
    for w in result.waivers:
        place = f" at {w.where}" if w.where else ""
        listed.append(f"{w.check}{place} by {w.owner} until {w.expires}: {w.reason}")
        listed += [f"{test}: only by the waiver of {w.check}" for test in w.tests]
        listed += [f"accepted: {finding}" for finding in w.findings]
    named = {test for w in result.waivers for test in w.tests}
    return [*listed, *(f"{test}: by no waiver" for test in result.warned_tests if test not in named)]


def short(digest: str) -> str:
    """The start of a digest, for people."""
    kind, separator, value = digest.partition(":")
    return f"{kind}:{value[:12]}" if separator else digest[:16]
