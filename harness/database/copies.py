"""What triggers and rules copy of a row to where others read it.

A writes a row that others may not read, with texts that are nowhere else. Whatever they see of those texts
afterwards, in any table or view, was copied there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness.database import values
from harness.database.catalogue import Column, Relation
from harness.database.findings import Found
from harness.database.oracle import Actor, Subject, literal, record
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.prober_base import LARGE
from harness.database.session import statement_identity
from harness.database.static_functions import MANAGED
from harness.database.synthesise import plausible
from harness.database.trigger_texts import reached, writers

__all__ = ["copies"]


def copies(prober: Prober) -> Iterator[Found]:
    """A's inserts, updates and deletes, on every table that a trigger or a rule watches."""
    readers = [prober.worlds["B"].actor]
    readers += [prober.anonymous] if prober.declaration.anonymous in prober.catalogue.roles else []
    for subject in prober.subjects:
        row = prober.worlds["A"].row(subject)
        concerned = subject.relation.table and not subject.bucket and not subject.declared.copied
        if row is not None and concerned and writers(prober.catalogue, subject.relation):
            yield from _copied(prober, subject, row, readers)


def _copied(prober: Prober, subject: Subject, row: Planted, readers: list[Actor]) -> Iterator[Found]:
    owner = prober.worlds["A"].actor
    for command, statement, written, first in _writes(prober, subject, row, owner):
        old = _texts(prober, row.data)
        secrets = [text for text in _texts(prober, written) if text not in old] or old
        if not secrets:
            continue
        for reader in readers:
            if prober.expected(subject, reader, written)["SELECT"]:
                continue
            query = _look(prober, subject, reader, secrets)
            if not query:
                continue
            after = prober.session.attempt(reader, query, prepare=_as(prober, owner, statement, first))
            if not after.result:
                continue
            before = prober.session.attempt(reader, query, prepare=_as(prober, owner, "", first))
            known = {title for title, _ in before.result}
            for title, seen in after.result:
                if title not in known and not before.sqlstate:
                    yield _found(prober, subject, reader, command, (title, seen))
                    return


def _writes(
    prober: Prober, subject: Subject, row: Planted, owner: Actor
) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """What A may do: its name, its SQL, the row that holds the texts, and what makes them first."""
    relation = subject.relation
    new = prober.anew(subject, row.data) | _fresh(
        prober, subject, relation.columns_for(owner.role, "INSERT"), row
    )
    if (
        prober._possible(subject, owner, "INSERT")
        and prober.expected(subject, owner, new, new=True)["INSERT"]
    ):
        columns = [
            c.sql
            for c in relation.columns_for(owner.role, "INSERT")
            if not c.generated and c.identity != "a" and not (c.default or "").startswith("nextval")
        ]
        names = ", ".join(columns)
        yield (
            "INSERT",
            f"insert into {relation.sql} ({names}) select {names} from {record(relation, new)}",
            new,
            "",
        )
    may = prober.expected(subject, owner, row.data)
    changed = _fresh(prober, subject, relation.columns_for(owner.role, "UPDATE"), row)
    if may["UPDATE"] and changed:
        yield "UPDATE", _changing(subject, row, changed), row.data | changed, ""
    if may["DELETE"]:
        texts = _fresh(prober, subject, relation.columns, row)
        first = _changing(subject, row, texts) if texts else ""
        yield "DELETE", f"delete from {relation.sql} where {row.match()}", row.data | texts, first


def _changing(subject: Subject, row: Planted, texts: dict[str, str]) -> str:
    columns = [(c, texts[c.name]) for c in subject.relation.columns if c.name in texts]
    change = ", ".join(f"{column.sql} = {literal(text)}" for column, text in columns)
    return f"update {subject.relation.sql} set {change} where {row.match()}"


def _fresh(prober: Prober, subject: Subject, columns: list[Column], row: Planted) -> dict[str, str]:
    """Texts that are nowhere else, for the columns that take any."""
    bound = {n for c in subject.relation.constraints for n in c.columns} | set(prober.links(subject))
    found = {}
    for column in columns:
        value = row.data.get(column.name)
        if column.category != "S" or column.generated or column.labels:
            continue
        if (
            isinstance(value, str)
            and f"probe-{prober.mark}-" in value
            and column.name not in prober.links(subject)
        ):
            found[column.name] = values.again(value, prober.mark)
        elif column.name not in bound and not column.domain:
            found[column.name] = plausible(column, prober.mark)
    return found


def _texts(prober: Prober, row: dict[str, Any]) -> list[str]:
    """The made-up texts in a row: what is nobody's business, unlike an id."""
    made = re.compile(rf"probe-{re.escape(prober.mark)}-\w+")
    found = [text for value in row.values() if isinstance(value, str) for text in made.findall(value)]
    return list(dict.fromkeys(found))


def _look(prober: Prober, subject: Subject, reader: Actor, secrets: list[str]) -> str:
    """A query for everything else that ``reader`` sees with one of the texts in it."""
    places = reached(prober.catalogue, subject.relation)
    tests = " or ".join(f"strpos(to_jsonb(t)::text, {literal(text)}) > 0" for text in secrets)
    parts = [
        f"(select {literal(relation.title)}, to_jsonb(t)::text from {relation.sql} t where {tests} limit 1)"
        for relation in prober.catalogue.relations
        if (places is None or relation.oid in places) and relation.oid != subject.relation.oid
        if _readable(prober, relation, reader) and not _published(prober, relation)
    ]
    return " union all ".join(parts)


def _published(prober: Prober, relation: Relation) -> bool:
    """Whether anyone may read every row of it: what is put there is meant for anyone."""
    declared = prober.declaration.tables.get(relation.title)
    rules = declared.all_rules if declared else ()
    return any(rule.who == "anyone" and "select" in rule.may and not rule.where for rule in rules)


def _readable(prober: Prober, relation: Relation, reader: Actor) -> bool:
    usage = prober.catalogue.schemas[relation.schema]["usage"]
    whole = "SELECT" in relation.privileges.get(reader.role, ())
    small = relation.rows <= LARGE and relation.kind in ("r", "p", "v") and not relation.parents
    return whole and small and reader.role in usage and relation.schema not in MANAGED


def _as(prober: Prober, actor: Actor, statement: str, first: str = "") -> str:
    """``statement`` done by ``actor``, as one statement of whoever has full rights, who does ``first``."""
    claims = statement_identity(prober.declaration, actor).replace("select ", "perform ", 1)
    role = '"' + actor.role.replace('"', '""') + '"'
    done = f"{claims}; set local role {role}; {statement}; reset role;" if statement else ""
    return f"do $probe$ begin {first or 'null'}; {done} end $probe$"


def _found(prober: Prober, subject: Subject, reader: Actor, command: str, seen: tuple[str, str]) -> Found:
    title, row = seen
    source = subject.relation.title
    culprit = _culprit(prober, subject.relation, title)
    return Found(
        "copy-leaks",
        culprit,
        f"it copies what is written to {source} into {title}, which others read",
        "what only some may read is copied only to where only they may read",
        f"-- restrict who reads {title}, or let {culprit} leave it alone; or declare `copied: true`",
        (reader.role,),
        source,
        (
            f"authenticated (A): {command.lower()} of a row of {source}; then {reader.title}:"
            f" select from {title}: saw {row[:160]}",
        ),
    )


def _culprit(prober: Prober, relation: Relation, target: str) -> str:
    """The rule or the trigger's function that writes the target; else the first that writes anything."""
    known = writers(prober.catalogue, relation)
    table = prober.catalogue.by_title[target]
    below = {table.oid} | prober.catalogue.reach(table)
    names = {prober.catalogue.by_oid[oid].name for oid in below if oid in prober.catalogue.by_oid}
    direct = [writer.title for writer in known if names & {name for _, name in writer.writes}]
    return next(iter([*direct, *(writer.title for writer in known)]), relation.title)
