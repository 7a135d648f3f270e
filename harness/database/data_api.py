"""The same questions through a real Data API: rows are planted for real, and removed whatever happens.

What will be removed is written down (and flushed to the disk) before it is committed; a run that was killed
leaves that list behind, and the next one removes what stands on it. From another machine, planted users are
known by their address (`@probe.invalid`), and what belongs to them goes with them. A table whose rows would
not go again is not planted, and said to be unproven.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from harness.database.beneath import beneath, hidden_tables
from harness.database.blame import blamed
from harness.database.catalogue import Catalogue, read
from harness.database.causes import at_fault
from harness.database.data_api_asker import Api
from harness.database.data_api_caller import Caller
from harness.database.data_api_functions import Functions
from harness.database.data_api_views import Views
from harness.database.declaration import Declaration
from harness.database.findings import Found, Gap, Report, merged
from harness.database.footprint import Footprint, Unsafe
from harness.database.oracle import Subject, subjects
from harness.database.planted import CannotPlant, World
from harness.database.planting_journal import Row, Stays, listed, remove, swept, write
from harness.database.prober import Prober
from harness.database.session import Session
from harness.database.sightings import Sighting
from harness.database.static_functions import MANAGED
from harness.database.worlds import Planter

__all__ = ["Api", "planted", "probe"]

Say = Callable[[str], None]


def probe(
    dsn: str,
    declaration: Declaration,
    api: Api,
    journal: Path,
    *,
    writes: bool,
    say: Say = lambda _: None,
) -> Report:
    """Read (and with ``writes``: insert, change and delete) each other's rows through ``api``.

    ``say`` is told what will be written, before it is.

    Raises:
        psycopg.OperationalError, httpx.TransportError: when the database or the API does not answer.
    """
    report = Report()
    for one in swept(dsn, journal).stays:
        report.gaps.append(Gap("what an earlier run planted", f"it stays: {one}", "remove it by hand"))
    with planted(dsn, declaration, (api.a, api.b), journal, report, say, writes=writes) as prober:
        if prober is None:
            return report
        caller = Caller(prober, api, journal)
        sightings = list(_asked(caller, report, writes=writes))
        leaking = [] if writes else list(Functions(caller).everything())
        report.tables = len(exposed_subjects(prober))
        with prober.session.opened():
            report.found = blamed(prober, sightings)
        report.found += _functions(prober, leaking, report.found) + merged(caller.found)
        report.probes, report.notes = caller.count, caller.notes
        report.gaps += [gap for gap in caller.gaps if gap not in report.gaps]
    return report


def _asked(caller: Caller, report: Report, *, writes: bool) -> Iterator[Sighting]:
    """What was seen of every table, then of every view."""
    views = Views(caller)
    for subject in exposed_subjects(caller.prober):
        if not subject.relation.table:
            yield from views.writes(subject) if writes else views.reads(subject)
            continue
        row = caller.prober.worlds["A"].row(subject)
        if row is None:
            continue
        if writes and row.found:
            why = "only rows that were there before fit: nothing is written to them through the Data API"
            report.gaps.append(Gap(subject.title, why, "say `plant:` with a value that is free"))
            continue
        yield from caller.writes(subject) if writes else caller.reads(subject)


def _functions(prober: Prober, leaking: list[Found], known: list[Found]) -> list[Found]:
    """Of what was seen of functions, that for which nothing else is to blame."""
    closed = not any(one.rule != "missing-access" for one in known)
    missing = [one for one in leaking if one.rule == "missing-access"]
    rest = [one for one in leaking if one.rule != "missing-access"]
    return missing + at_fault(prober.catalogue, rest, known, closed=closed)


def exposed_subjects(prober: Prober) -> list[Subject]:
    """The declared tables, then the views, that the Data API exposes."""
    known = subjects(prober.catalogue, prober.declaration)
    exposed = [s for s in known if not s.bucket and s.relation.schema in prober.declaration.schemas]
    return sorted(exposed, key=lambda s: not s.relation.table)


@contextlib.contextmanager
def planted(
    dsn: str,
    declaration: Declaration,
    users: tuple[str, str],
    journal: Path,
    report: Report,
    say: Say = lambda _: None,
    *,
    writes: bool = True,
) -> Iterator[Prober | None]:
    """Rows of two users, committed and removed; nothing, when not even users can be planted.

    What cannot be planted safely, or stays in spite of all, is a gap of ``report``.
    """
    mark = secrets.token_hex(3)
    with psycopg.connect(dsn) as witness, psycopg.connect(dsn) as connection:
        witness.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        witness.execute(b"set transaction read only")
        witness.execute(b"select count(*) from pg_class")  # from here on it sees what was there before
        connection.execute(b"set lock_timeout = '10s'")
        connection.execute(b"set statement_timeout = '15s'")
        catalogue = read(connection, declaration.callers, declaration.service)
        footprint = Footprint(connection, witness, catalogue, [f"probe-{mark}-", *users])
        try:
            prober = _plant(footprint, declaration, users, mark, report, writes)
        except (CannotPlant, Unsafe) as error:
            report.gaps.append(Gap("users", f"no user can be planted: {error}", "say `plant:`"))
            connection.rollback()
            yield None
            return
        kept = listed(journal)  # what an earlier run could not remove
        report.writes = [f"{_name(table)}: {n} rows" for table, n in _counted(footprint.rows)]
        say("plants and removes again: " + "; ".join(report.writes))
        write(journal, [*kept, *footprint.rows])
        try:
            connection.commit()
            connection.autocommit = True
            yield prober
        finally:
            _cleared(dsn, journal, footprint, report)


def _counted(rows: list[Row]) -> list[tuple[str, int]]:
    return sorted(Counter(row.table for row in rows).items())


def _name(table: str) -> str:
    return table.removesuffix(" as t").replace('"', "")


def _cleared(dsn: str, journal: Path, footprint: Footprint, report: Report) -> None:
    """Remove everything, what triggers made of it too, and say what stays."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        done = swept(dsn, journal, footprint.echo)
        footprint.connection = connection
        held = {one.row for one in done.stays}
        left: list[Stays] = []
        others: list[str] = []
        for _ in range(3):  # to remove rows may make rows
            new, others = footprint.mentioned()
            if not (new := [row for row in new if row not in held]):
                break
            left = remove(connection, new, footprint.echo)
            held |= {one.row for one in left}
        if left:
            write(journal, [*listed(journal), *(one.row for one in left)])
    stays = [*map(str, done.stays), *map(str, left), *others]
    for one in dict.fromkeys(stays):
        hint = f"remove it by hand; the list is {journal}"
        gap = Gap("what was planted", f"it stays: {one}", hint)
        if gap not in report.gaps:
            report.gaps.append(gap)


def _plant(
    footprint: Footprint,
    declaration: Declaration,
    users: tuple[str, str],
    mark: str,
    report: Report,
    writes: bool,
) -> Prober:
    connection, catalogue = footprint.connection, footprint.catalogue
    declared = [s for s in subjects(catalogue, declaration) if not s.bucket]
    known = [s for s in declared if s.relation.table]
    known += beneath(catalogue, declaration, declared)
    known += _hidden(catalogue, declaration, [s for s in declared if s not in known], known)
    planter = Planter(connection, catalogue, mark, declaration=declaration, subjects=known)
    worlds: dict[str, World] = {}
    for name, user in zip("AB", users, strict=True):
        worlds[name] = planter.world(name, declaration.signed_in, user)
        _kept(footprint, worlds[name], set(), writes)
        planter.act(worlds[name])
        for subject in known:
            if (why := _safely(footprint, planter, worlds[name], subject, writes)) is not None:
                gap = Gap(subject.title, f"not tried through the Data API: {why}", "say `plant:`")
                if not subject.heir and gap.object not in {one.object for one in report.gaps}:
                    report.gaps.append(gap)
    for world in worlds.values():
        planter.refresh(world)
    prober = Prober(Session(connection, declaration), catalogue, declaration, worlds, mark)
    prober.subjects = [s for s in declared if s.relation.table]
    return prober


def _hidden(
    catalogue: Catalogue, declaration: Declaration, views: list[Subject], known: list[Subject]
) -> list[Subject]:
    """Tables that views show, and of which nothing is declared: empty, they would prove nothing."""
    planted = {subject.relation.oid for subject in known}
    tables = [t for view in views for t in hidden_tables(catalogue, declaration, view.relation)]
    found = {t.oid: t for t in tables if t.oid not in planted and t.schema not in MANAGED}
    return [Subject(table, (), table.title) for table in found.values()]


def _kept(footprint: Footprint, world: World, before: set[tuple[int, str]], writes: bool) -> None:
    """Put on the list what was inserted just now.

    Raises:
        Unsafe: when it would not go again, or requests would make rows that nobody could tell from others.
    """
    new = footprint.new()
    planted = {f"{row.relation.sql} as t" for key, row in world.rows.items() if key not in before}
    silent = [row for row in new if footprint.silent(row) and row.table not in planted]
    if writes and silent:
        raise Unsafe(f"a trigger makes rows that do not say whose they are: {silent[0]}")
    footprint.rehearse(new)
    footprint.rows += new


def _safely(
    footprint: Footprint, planter: Planter, world: World, subject: Subject, writes: bool
) -> str | None:
    """Plant the subject's row; why that is not done, when it is not."""
    if not subject.relation.key:
        return "it has no primary key, so a request could not name its row alone"
    rows, promised = dict(world.rows), {k: dict(v) for k, v in world.promised.items()}
    worlds = list(planter.worlds)
    try:
        with footprint.connection.transaction():
            planter.plant(world, subject)
            _kept(footprint, world, set(rows), writes)
    except (CannotPlant, Unsafe) as error:
        world.rows, world.promised, planter.worlds = rows, promised, worlds
        why = "its rows cannot be made up" if isinstance(error, CannotPlant) else "its rows would stay"
        return f"{why}: {error}"
    except psycopg.Error as error:
        world.rows, world.promised, planter.worlds = rows, promised, worlds
        if footprint.connection.closed:
            raise
        return f"{error.diag.message_primary or error}"
    return None
