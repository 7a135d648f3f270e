"""The same questions about files over HTTP, where a Storage API answers (the embedded stack has none).

Every declared bucket is tried, with a file where A's may lie: in the folder of A, or of a group that A is
planted into. What is to be removed is on the disk before it is uploaded; a run that is killed leaves it to
the next one.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from harness.checks.storage_bucket import TriedBucket
from harness.checks.storage_client import StorageClient
from harness.database.data_api import planted
from harness.database.declaration import Declaration, Table
from harness.database.findings import Gap, Report
from harness.database.oracle import Subject, subjects
from harness.database.planting_journal import Row, listed, write
from harness.database.prober import Prober
from harness.evidence import Finding
from harness.stack import Stack

__all__ = ["Heard", "over_http"]

_log = logging.getLogger(__name__)
_ABSENT = 404


@dataclass
class Heard:
    """What the Storage API lets people do that it must not, and what could not be asked."""

    how: str
    findings: list[Finding] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def over_http(stack: Stack, declared: Declaration) -> Heard:
    """Ask the Storage API, where there is one, about every bucket that is declared."""
    client = StorageClient(stack)
    answer = client.send("GET", "/storage/v1/bucket", client.service)
    if answer.status_code == _ABSENT:
        return Heard("no Storage API in this stack: proven in SQL")
    heard = Heard("and over HTTP")
    if not answer.is_success:
        heard.gaps.append(Gap("Storage API", f"it answered HTTP {answer.status_code} to a list of buckets"))
        return heard
    there = {str(bucket.get("id") or bucket.get("name")) for bucket in answer.json()}
    journal = stack.state / "planted-files.json"
    heard.gaps += _removed(client, journal)
    report, people = Report(), [f"storage-http-{uuid.uuid4().hex[:8]}-{who}" for who in "ab"]
    client.people = {stack.identities.user_id(name): name for name in people}
    a, b = client.people
    users = stack.state / "planted-storage.json"
    planting = planted(
        stack.database_dsn, _narrow(declared), (a, b), users, report, _log.warning, writes=False
    )
    with planting as prober:
        for name in declared.buckets if prober is not None else ():
            if name not in there:
                heard.gaps.append(
                    Gap(f"bucket {name}", "the Storage API does not have it: nothing was tried")
                )
            elif prober is not None:
                _tried(client, prober, name, journal, heard)
    heard.gaps += [gap for gap in report.gaps if gap not in heard.gaps]
    return heard


def _narrow(declared: Declaration) -> Declaration:
    """Of the declaration, what decides about files: buckets, and who belongs to which group."""
    tables = {m.table: declared.tables.get(m.table, Table()) for m in declared.memberships.values()}
    return declared.model_copy(update={"tables": tables, "functions": {}})


def _tried(client: StorageClient, prober: Prober, name: str, journal: Path, heard: Heard) -> None:
    known = subjects(prober.catalogue, prober.declaration)
    subject = next((one for one in known if one.bucket == name), None)
    folders = [_folder(prober, subject, who) for who in "AB"] if subject else [None]
    if subject is None or not all(folders):
        why = (
            "the database does not have it"
            if subject is None
            else "nobody could be planted into its groups"
        )
        heard.gaps.append(Gap(f"bucket {name}", f"nothing was tried over HTTP: {why}"))
        return
    tried = TriedBucket(client, prober, subject, (str(folders[0]), str(folders[1])))
    write(journal, [*listed(journal), *(Row(name, path) for path in tried.files)])
    try:
        heard.findings += tried.everything()
    finally:
        heard.gaps += [*tried.gaps, *_removed(client, journal)]
        heard.notes += tried.notes


def _folder(prober: Prober, subject: Subject, who: str) -> str | None:
    """The first part of a path that is the user's: their id, or that of a group that they are in."""
    world = prober.worlds[who]
    for rule in subject.rules:
        membership = prober.declaration.memberships.get(rule.of or "")
        if rule.by == "folder" and rule.who == "members" and membership:
            relation = prober.catalogue.by_title.get(membership.table)
            row = world.rows.get((relation.oid, "")) if relation else None
            return str(row.data[membership.group]) if row else None
    return world.user


def _removed(client: StorageClient, journal: Path) -> list[Gap]:
    """Remove what stands on the list; what is still there afterwards stays on it."""
    rows = listed(journal)
    for bucket, path in rows:
        client.object("DELETE", f"{bucket}/{path}", client.service)
    stays = [
        r
        for r in rows
        if client.object("GET", f"authenticated/{r.table}/{r.match}", client.service).is_success
    ]
    if stays:
        write(journal, stays)
    else:
        journal.unlink(missing_ok=True)
    hint = f"remove it by hand; the list is {journal}"
    return [Gap(f"bucket {row.table}", f"a planted file stays: {row.match}", hint) for row in stays]
