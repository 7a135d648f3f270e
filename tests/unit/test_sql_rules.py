"""What the rules say to a migration, and what they let pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.migrations import Migration
from harness.sql.lint import RULES, read, read_reverses, read_tree
from tests.pg_fixture import ROOT

BEFORE = """
create table public.t (
    id int primary key, a int, b varchar(20), c numeric(8, 2), d timestamptz, e text, f int[], g smallint,
    "Größe" int
);
create table public.other (id int primary key);
create materialized view public.m as select id from public.t;
create schema old;
alter table public.t add constraint e_set check (e is not null and b is not null) not valid;
"""
VALIDATED = "alter table public.t validate constraint e_set;"


def flags(text: str, *, before: tuple[str, ...] = (BEFORE, VALIDATED)) -> list[tuple[str, int]]:
    files = [Migration(f"{i:014}", "x", sql) for i, sql in enumerate((*before, text))]
    found = read(files, Path("/")).flags
    return [(flag.rule, flag.line) for flag in found if flag.path == files[-1].label]


FLAGGED = {
    # data
    "drop table t": "drop-table",
    'drop table if exists other, "T"': "drop-table",
    "drop materialized view m": "drop-table",
    "drop sequence s": "drop-table",
    "drop schema old": "drop-schema",
    "drop function f() cascade": "drop-cascade",
    "drop owned by somebody": "drop-cascade",
    "alter table t drop column a": "drop-column",
    'alter table only public.t drop column if exists "Größe"': "drop-column",
    "truncate t": "truncate",
    "delete from t": "delete-all",
    "delete from t where true": "delete-all",
    "with x as (select 1) delete from t where 1": "delete-all",
    "update t set a = 1": "update-all",
    "update t set a = 1 where true": "update-all",
    "alter table t alter column a type smallint": "type-narrowing",
    "alter table t alter b type varchar(10)": "type-narrowing",
    "alter table t alter c type numeric(8, 1)": "type-narrowing",
    "alter table t alter c type numeric(7, 2)": "type-narrowing",
    "alter table t alter d type date": "type-narrowing",
    "alter table t alter e type varchar(100)": "type-narrowing",
    "alter table t alter e type int using e::int": "type-narrowing",
    "alter table t alter a set not null": "set-not-null",
    "alter table t add x text not null": "required-column",
    "alter table t rename to u": "rename",
    "alter table t rename column a to z": "rename",
    "alter table t set schema old": "rename",
    "alter table t disable row level security": "disable-rls",
    "do $$ begin execute format('drop table %I', 't'); end $$": "dynamic-sql",
    "do $$ begin execute 'truncate t'; end $$": "truncate",
    "do $$ begin if true then delete from t; end if; end $$": "delete-all",
    # locks
    "create index on t (a)": "index-lock",
    "create unique index i on only public.t (a)": "index-lock",
    "drop index i": "index-lock",
    "reindex table t": "index-lock",
    "alter table t alter a type bigint": "table-rewrite",
    "alter table t alter c type numeric(12, 4)": "table-rewrite",
    "alter table t alter unheard type text": "table-rewrite",
    "alter table t alter b type text using lower(b)": "table-rewrite",
    "alter table t add x uuid default gen_random_uuid()": "table-rewrite",
    "alter table t add x timestamptz default clock_timestamp()": "table-rewrite",
    "alter table t add x serial": "table-rewrite",
    "alter table t add x int generated always as identity": "table-rewrite",
    "alter table t add x int generated always as (a + 1) stored": "table-rewrite",
    "alter table t set unlogged": "table-rewrite",
    "cluster t using t_pkey": "table-rewrite",
    "vacuum full t": "table-rewrite",
    "alter table t add constraint n check (a > 0)": "unvalidated-first",
    "alter table t add foreign key (a) references other": "unvalidated-first",
    "alter table t add x int check (x > 0)": "unvalidated-first",
    "alter table t add unique (a)": "unique-by-index",
    "alter table t add x int unique": "unique-by-index",
    "lock table t in exclusive mode": "explicit-lock",
    "refresh materialized view m": "refresh-lock",
    # hosted
    "alter table storage.objects enable row level security": "managed-schema",
    "create table auth.mine (id int)": "managed-schema",
    "create index concurrently on auth.users (email)": "managed-schema",
    "create function auth.f() returns int language sql as 'select 1'": "managed-schema",
    "drop function auth.uid()": "managed-schema",
    "create view storage.v as select 1": "managed-schema",
    "delete from storage.objects where bucket_id = 'a'": "storage-delete",
    "alter system set work_mem = '1GB'": "superuser",
    "create role boss superuser": "superuser",
    "create role seer bypassrls": "bypass-rls",
    "alter role seer bypassrls": "bypass-rls",
    "create role r login password 'x'": "password",
    "create event trigger t on ddl_command_end execute function f()": "event-trigger",
    "create extension plpython3u": "extension-not-offered",
    "copy t from '/etc/passwd'": "superuser",
    "copy t to program 'cat'": "superuser",
    "create function f() returns int language c as 'lib', 'f'": "superuser",
    "create foreign data wrapper w": "superuser",
    "create database d": "superuser",
    "commit": "transaction-control",
}


@pytest.mark.parametrize("statement", FLAGGED)
def test_it_is_flagged_at_its_line(statement: str) -> None:
    found = flags(f"-- a comment; with a semicolon\n\n  {statement};\n")
    assert (FLAGGED[statement], 3) in found, found
    assert len({rule for rule, _ in found}) == 1, f"one mistake, several rules: {found}"


def test_every_rule_is_tried() -> None:
    elsewhere = {"validate-apart", "concurrently-alone", "drop-database", "not-sql", "accept"}
    assert set(FLAGGED.values()) == set(RULES) - elsewhere


SILENT = (
    "create table n (id int primary key, a int unique, o int references other); create index on n (a);"
    " alter table n add x int not null; alter table n alter a type bigint; drop table n",
    "create temporary table n as select 1 as a; truncate n; drop table n",
    "create schema mine; create table mine.n (a int); alter table mine.n drop column a; drop table mine.n",
    "create index concurrently i on t (a)",
    "create unique index concurrently i on t (a)",
    "drop index concurrently i",
    "reindex index concurrently i",
    "refresh materialized view concurrently m",
    "alter table t add x int",
    "alter table t add x int not null default 0",
    "alter table t add x timestamptz not null default now()",
    "alter table t add owner uuid default auth.uid()",
    "alter table t add x int references other",
    "alter table t add x int generated always as (a + 1) virtual",
    "alter table t alter b type varchar(30)",
    "alter table t alter b type text",
    "alter table t alter c type numeric(10, 2)",
    "alter table t alter e type varchar",
    "alter table t alter e set not null",
    "alter table t add constraint n check (a > 0) not valid",
    "alter table t add foreign key (a) references other not valid",
    "alter table t add constraint u unique using index i",
    "alter table t drop constraint e_set",
    "alter table t enable row level security; alter table t force row level security",
    "delete from t where a = 1; update t set a = 2 where a = 1",
    "create or replace view v with (security_invoker = true) as select 1 as a",
    "drop view v; drop function f(); drop policy p on t; drop trigger g on t",
    "create policy p on storage.objects for select using (true); drop policy p on storage.objects",
    "create trigger g after insert on auth.users for each row execute function f()",
    "insert into storage.buckets (id, name) values ('a', 'a') on conflict do nothing",
    "create schema if not exists storage",
    "create role r nologin; create extension if not exists vector with schema extensions",
    "savepoint s; release s",
    "create function f() returns void language plpgsql as $$ begin truncate t; drop table t; end $$",
    "do $$ begin if not exists (select from pg_roles) then create role r nologin; end if; end $$",
    "grant select on t to anon; comment on table t is 'x'; analyze t; notify pgrst",
    "-- accept drop-table: its rows were moved\ndrop table t",
    "drop table t; -- accept drop-table: its rows were moved",
    "-- accept drop-table: moved\n-- accept drop-cascade: only its views\ndrop table t cascade",
    "",
)


@pytest.mark.parametrize("text", SILENT)
def test_it_is_let_pass(text: str) -> None:
    assert flags(text) == []


def test_a_check_must_be_validated_in_an_earlier_file() -> None:
    """In one transaction the lock that adding it took is held while every row is read."""
    add = "alter table t add constraint a_set check (a is not null) not valid;"
    validate = "alter table t validate constraint a_set;"
    strict = "alter table t alter column a set not null;"
    assert flags(add + validate) == [("validate-apart", 1)]
    assert ("set-not-null", 1) in flags(validate + strict, before=(BEFORE, add))
    assert flags(strict, before=(BEFORE, add, validate)) == []
    assert flags(strict, before=(BEFORE, add)) == [("set-not-null", 1)]


def test_an_index_made_concurrently_is_alone_in_its_file() -> None:
    """The CLI runs it outside the file's transaction: a later failure would leave half a file."""
    assert flags("create index concurrently i on t (a);\nalter table t add x int;") == [
        ("concurrently-alone", 1)
    ]


def test_lines_inside_a_block_are_the_files_lines() -> None:
    text = "select 1;\ndo\n$body$\ndeclare x int;\nbegin\n  x := 1;\n  truncate t;\nend\n$body$;\n"
    assert flags(text) == [("truncate", 7)]


def test_columns_are_followed_through_renames() -> None:
    rename = "-- accept rename: nobody uses it\nalter table t rename to u;"
    assert flags("alter table u alter a type smallint;", before=(BEFORE, rename)) == [("type-narrowing", 1)]
    assert flags("alter table u alter b type varchar(90);", before=(BEFORE, rename)) == []


@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("-- accept drop-tabel: moved", "there is no rule drop-tabel"),
        ("-- accept drop-table", "drop-table without a reason"),
        ("-- accept drop-table:   ", "drop-table without a reason"),
        ("-- accept truncate: moved", "truncate is accepted where nothing has it"),
    ],
)
def test_an_agreement_that_agrees_to_nothing_is_flagged(comment: str, says: str) -> None:
    found = read([Migration("1", "x", f"{comment}\ndrop table t;")], Path("/")).flags
    assert [(flag.rule, flag.line) for flag in found] == [("drop-table", 2), ("accept", 1)]
    assert says in found[1].what


def test_an_agreement_reaches_one_statement() -> None:
    text = "-- accept drop-table: moved\ndrop table t;\ndrop table other;"
    assert flags(text) == [("drop-table", 3)]
    reading = read([Migration("1", "x", text)], Path("/"))
    assert reading.accepted == (("1_x:1", "drop-table", "moved"),)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("select 1;\n\nselec 2;\n", 3, "syntax error"),
        ("select 'ä';\nselect 'never closed", 2, "unterminated quoted string"),
        ("\\set x 1\nselect 1;", 1, "syntax error"),
        ("select 1;\nselect '\0';", 2, "NUL"),
        ("<<<<<<< HEAD\nselect 1;", 1, "syntax error"),
    ],
)
def test_what_is_no_sql_is_said_with_its_line(text: str, line: int, says: str) -> None:
    (found,) = read([Migration("1", "x", text)], Path("/")).flags
    assert (found.rule, found.line) == ("not-sql", line)
    assert says in found.what


def test_a_reverse_may_drop_but_not_what_a_hosted_project_refuses(tmp_path: Path) -> None:
    path = tmp_path / "20261101000100_x.sql"
    path.write_text("drop table public.t;\nalter table auth.users drop column x;\n")
    found = read_reverses([path], tmp_path).flags
    assert [(flag.rule, flag.line, flag.path) for flag in found] == [("managed-schema", 2, path.name)]


def test_the_projects_own_migrations_are_content() -> None:
    reading = read_tree(ROOT / "supabase")
    assert reading.flags == ()
    assert reading.files >= 10
