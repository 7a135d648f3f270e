"""Every mistake of the corpus is found and named exactly; schemas without one are silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from harness.database.check import FUNCTIONS, Options, check_connection
from harness.database.declaration import load, parse
from harness.database.declare import declared_text
from harness.database.findings import Report
from harness.providers.selfhosted.bootstrap import drop_database, scratch_database
from tests.corpus import DECLARATION, SCHEMA, SILENT, Mutation, differences, mutations, told
from tests.pg_fixture import Cluster

MUTATIONS = mutations()
KINDS = sorted({mutation.kind for mutation in MUTATIONS})
CORPUS = "corpus_template"


@pytest.fixture(scope="module")
def corpus(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """The corpus schema as a template; called, the DSN of the template database."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as owner:
        owner.execute(
            sql.SQL("create database {} template supabase_baseline").format(sql.Identifier(CORPUS))
        )
    dsn = cluster.dsn(database=CORPUS)
    with psycopg.connect(dsn) as connection:
        connection.execute(SCHEMA.read_bytes())
    yield lambda role="postgres": cluster.dsn(role, CORPUS)
    with psycopg.connect(cluster.dsn(), autocommit=True) as owner:
        drop_database(owner, CORPUS)


def examined(connection: psycopg.Connection, declaration: Path, **options: object) -> Report:
    """The report on whatever the open transaction holds."""
    return check_connection(connection, load(declaration), Options(**options))


def test_the_corpus_is_large_enough() -> None:
    assert len(MUTATIONS) >= 60
    assert min(Counter(mutation.kind for mutation in MUTATIONS).values()) >= 3
    assert len(SILENT) >= 15


def test_the_correct_schema_is_silent(corpus: Callable[..., str]) -> None:
    heard: list[str] = []
    with psycopg.connect(corpus()) as connection:
        report = examined(connection, DECLARATION, told=heard.append)
        assert report.holds, told(report)
        assert report.probes > 300
        assert any(text.endswith(f" of {report.tables}  public.notes") for text in heard), heard
        connection.rollback()
        report = examined(connection, DECLARATION, dynamic=False)
        assert report.holds, told(report)
        connection.rollback()


@pytest.mark.parametrize("kind", KINDS)
def test_every_mistake_is_named_and_nothing_else(corpus: Callable[..., str], kind: str) -> None:
    """Each is made in a transaction that is rolled back: the template stays as it is.

    Of every third the whole database is tried; of the others first what they are about, which takes a third
    of the time, and the whole where that does not tell.
    """
    wrong: list[str] = []
    for number, mutation in enumerate(m for m in MUTATIONS if m.kind == kind):
        told_of = concerned(mutation) if number % 3 else None
        if told_of is None or differences(mutation, mistaken(corpus, mutation, told_of)):
            wrong += differences(mutation, mistaken(corpus, mutation, None))
    assert not wrong, "\n\n".join(wrong)


def concerned(mutation: Mutation) -> frozenset[str]:
    """What a mutation is about: each table, view and bucket that it names, and functions."""
    declared = load(DECLARATION)
    text = f"{mutation.sql} {mutation.expect}"
    titles = {title for title in declared.tables if title.partition(".")[2] in text}
    return frozenset({FUNCTIONS, *titles, *(f"bucket {name}" for name in declared.buckets if name in text)})


def mistaken(corpus: Callable[..., str], mutation: Mutation, only: frozenset[str] | None) -> Report:
    """The report on the corpus with a mistake in it."""
    # a superuser makes what only a superuser can make, and postgres looks at it
    with psycopg.connect(corpus("supabase_admin" if mutation.superuser else "postgres")) as connection:
        connection.execute(mutation.sql.encode())
        if mutation.superuser:
            connection.execute(b"set session authorization postgres")
        report = examined(connection, DECLARATION, only=only)
        connection.rollback()
    return report


@pytest.mark.parametrize("schema", SILENT, ids=lambda path: path.stem)
def test_a_correct_but_unusual_schema_is_silent(cluster: Cluster, schema: Path) -> None:
    with scratch_database(cluster.dsn(), "silent") as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(schema.read_bytes())
        with psycopg.connect(dsn) as connection:
            for dynamic in (True, False):
                report = examined(connection, schema.with_suffix(".yaml"), dynamic=dynamic)
                connection.rollback()
                assert report.holds, told(report)
        # what it writes of a live database by itself is kept by that database
        with psycopg.connect(dsn) as connection:
            report = check_connection(connection, parse(declared_text(dsn)), Options())
            connection.rollback()
            assert report.holds or schema.stem in ("strange_names",), told(report)


def test_the_written_declaration_finds_a_later_mistake(corpus: Callable[..., str]) -> None:
    declaration = parse(declared_text(corpus()))
    caught = 0
    sample = [
        m
        for m in MUTATIONS
        if m.kind in ("read by everybody", "helpers gone wrong", "rows given away", "files of others")
    ]
    sample = sample[::3]
    for mutation in sample:
        with psycopg.connect(corpus()) as connection:
            connection.execute(mutation.sql.encode())
            report = check_connection(connection, declaration, Options())
            connection.rollback()
            caught += bool(report.found)
    assert caught == len(sample)


@pytest.mark.parametrize(
    ("mistake", "key"),
    [
        ("create policy x on public.notes for update to authenticated using (true)", "foreign-update"),
        ("alter policy notes_remove on public.notes using (true)", "foreign-delete"),
        ("alter policy notes_edit on public.notes with check (true)", "owner-reassigned"),
    ],
)
def test_a_table_too_large_to_lock_is_judged_by_its_policies(
    corpus: Callable[..., str], mistake: str, key: str
) -> None:
    with psycopg.connect(corpus("supabase_admin")) as connection:
        connection.execute(b"update pg_class set reltuples = 1e7 where oid = 'public.notes'::regclass")
        report = examined(connection, DECLARATION)
        assert report.holds, told(report)
        connection.rollback()
        connection.execute(b"update pg_class set reltuples = 1e7 where oid = 'public.notes'::regclass")
        connection.execute(mistake.encode())
        report = examined(connection, DECLARATION)
        assert [one.rule for one in report.found] == [key], told(report)
        assert "the policies for" in report.found[0].proofs[0]
        connection.rollback()


PLAIN = """
create schema auth;
create table auth.users (id uuid primary key);
create function auth.uid() returns uuid language sql stable as
$$ select current_setting('request.jwt.claim.sub', true)::uuid $$;
grant usage on schema auth, public to anon, authenticated;
create table public.notes (id int generated always as identity primary key, owner uuid not null);
alter table public.notes enable row level security;
create policy own on public.notes using (owner = auth.uid());
grant select, insert, update, delete on public.notes to anon, authenticated;
"""


def test_a_plain_postgresql_with_an_auth_schema_of_its_own(cluster: Cluster) -> None:
    """Nothing of Supabase but the names: its auth.uid() does not even expect callers without a token."""
    declaration = parse("grants: wide\ntables:\n  public.notes: {owner: owner, may: all}\n")
    with (
        scratch_database(cluster.dsn("supabase_admin"), "plain", "template0") as dsn,
        psycopg.connect(dsn) as connection,
    ):
        connection.execute(PLAIN.encode())
        report = check_connection(connection, declaration, Options())
        assert report.holds, told(report)
        connection.rollback()
        connection.execute(PLAIN.encode())
        connection.execute(b"alter policy own on public.notes using (owner = auth.uid() or id > 0)")
        report = check_connection(connection, declaration, Options())
        connection.rollback()
        assert [one.key for one in report.found] == [("foreign-read", 'policy "own" on public.notes')], (
            told(report)
        )
        assert "authenticated" in report.found[0].roles
