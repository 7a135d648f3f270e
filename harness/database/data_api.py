"""The same questions through a real Data API: rows are planted for real, and removed whatever happens.

What will be removed is written down (and flushed to the disk) before it is committed; a run that was killed
leaves that list behind, and the next one removes what stands on it. From another machine, planted users are
known by their address (`@probe.invalid`), and what belongs to them goes with them.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from harness.database.blame import blamed
from harness.database.catalogue import Catalogue, read
from harness.database.data_api_caller import Api, Caller
from harness.database.declaration import Declaration
from harness.database.findings import Gap, Report
from harness.database.oracle import Subject, subjects
from harness.database.planted import CannotPlant, World
from harness.database.planting_journal import swept, write
from harness.database.prober import Prober, Sighting
from harness.database.session import Session
from harness.database.worlds import Planter

__all__ = ["Api", "probe"]


def probe(dsn: str, declaration: Declaration, api: Api, journal: Path, *, writes: bool) -> Report:
    """Read (and with ``writes``: insert, change and delete) each other's rows through ``api``.

    Raises:
        psycopg.OperationalError, httpx.TransportError: when the database or the API does not answer.
    """
    report = Report()
    swept(dsn, journal)
    with _planted(dsn, declaration, (api.a, api.b), journal, report) as prober:
        caller = Caller(prober, api, journal)
        sightings: list[Sighting] = []
        for subject in prober_subjects(prober):
            if prober.worlds["A"].row(subject) is None:
                continue
            sightings += caller.writes(subject) if writes else caller.reads(subject)
        report.probes = caller.count
        report.tables = len(prober_subjects(prober))
        with prober.session.opened():
            report.found = blamed(prober, sightings)
    return report


def prober_subjects(prober: Prober) -> list[Subject]:
    """The declared tables that the Data API exposes."""
    known = subjects(prober.catalogue, prober.declaration)
    return [
        s
        for s in known
        if s.relation.table and not s.bucket and s.relation.schema in prober.declaration.schemas
    ]


@contextlib.contextmanager
def _planted(
    dsn: str, declaration: Declaration, users: tuple[str, str], journal: Path, report: Report
) -> Iterator[Prober]:
    mark = secrets.token_hex(3)
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute(b"set lock_timeout = '10s'")
            connection.execute(b"set statement_timeout = '15s'")
            catalogue = read(connection, declaration.callers, declaration.service)
            prober = _plant(connection, catalogue, declaration, users, mark, report)
            rows = [
                (p.relation.sql, p.match())
                for world in prober.worlds.values()
                for p in world.rows.values()
                if p.relation.key
            ]
            write(journal, rows)
            connection.commit()
            connection.autocommit = True
            yield prober
    finally:
        swept(dsn, journal)


def _plant(
    connection: psycopg.Connection[Any],
    catalogue: Catalogue,
    declaration: Declaration,
    users: tuple[str, str],
    mark: str,
    report: Report,
) -> Prober:
    known = [s for s in subjects(catalogue, declaration) if s.relation.table and not s.bucket]
    planter = Planter(connection, catalogue, declaration, known, mark)
    worlds: dict[str, World] = {}
    for name, user in zip("AB", users, strict=True):
        worlds[name] = planter.world(name, declaration.signed_in, user)
        planter.act(worlds[name])
        for subject in known:
            try:
                if subject.relation.key:
                    planter.plant(worlds[name], subject)
            except CannotPlant as error:
                report.gaps.append(
                    Gap(subject.title, f"its rows cannot be made up: {error}", "say `plant:`")
                )
    for world in worlds.values():
        planter.refresh(world)
    return Prober(Session(connection, declaration), catalogue, declaration, worlds, mark)
