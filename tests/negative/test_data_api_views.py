"""Views opened for real behind a real Data API: what lets others see or write a row of A's is named."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest

from harness.database.check import Options, check
from harness.database.declaration import parse
from harness.database.findings import merged
from harness.database.planting_journal import swept
from tests.api_stand import OTHERS, Exposed, told
from tests.negative.test_database_trouble import killed

Made = Callable[..., Exposed]
NOTES = """
create table public.notes (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null default auth.uid() references auth.users,
    body text not null, facts jsonb not null default '{}'
);
alter table public.notes enable row level security;
create policy own on public.notes for all to authenticated using (user_id = auth.uid());
grant select, insert, update, delete on public.notes to authenticated;
grant all on public.notes to service_role;
insert into auth.users (id, email) values ('00000000-0000-0000-0000-00000000000c', 'c@example.org');
insert into public.notes (user_id, body) values ('00000000-0000-0000-0000-00000000000c', 'somebody else');
"""
VIEW = """
create view public.mine with (security_invoker = {invoker}) as select {columns} from public.notes {where};
grant select, insert, update, delete on public.mine to authenticated, service_role;
"""
DECLARED = """
tables:
  public.notes: {owner: user_id, may: all}
  public.mine: {owner: user_id, may: all}
"""
ALL = "id, user_id, body"


def view(invoker: bool = True, columns: str = ALL, where: str = "") -> str:
    return NOTES + VIEW.format(invoker=str(invoker).lower(), columns=columns, where=where)


def one(exposed: Exposed, *, writes: bool, declared: str = DECLARED) -> tuple[str, str]:
    """The one finding: its rule and object, and what was done and seen."""
    report = exposed.probe(declared, writes=writes)
    assert len(report.found) == 1, told(report)
    assert not report.gaps, told(report)
    return f"{report.found[0].rule} {report.found[0].object}", told(report)


@pytest.mark.parametrize(
    "columns",
    [ALL, "id, user_id, body, facts", 'user_id, body as "Was steht da?"', "user_id, array[id] as ids"],
)
@pytest.mark.parametrize("where", ["", "where user_id = auth.uid() with check option"])
def test_a_view_that_is_right_is_silent(exposed: Made, columns: str, where: str) -> None:
    made = exposed(view(invoker=not where, columns=columns, where=where))
    for writes in (False, True):
        report = made.probe(DECLARED, writes=writes)
        assert report.holds, told(report)
    assert "GET" not in told(report)


def test_a_view_with_its_owners_rights_shows_b_the_row_of_a(exposed: Made) -> None:
    culprit, said = one(exposed(view(invoker=False)), writes=False)
    assert culprit == "view-bypasses-rls public.mine"
    assert "authenticated (B): GET /rest/v1/mine?or=" in said
    assert "HTTP 200: 2 rows, saw {'id': '" in said
    assert "somebody else" not in said


def test_a_view_that_anybody_may_read_is_seen(exposed: Made) -> None:
    sql = view(invoker=False, where="where user_id = auth.uid() or auth.uid() is null")
    culprit, said = one(exposed(sql + "grant select on public.mine to anon"), writes=False)
    assert culprit == "view-bypasses-rls public.mine"
    assert "anon: GET /rest/v1/mine?or=" in said


def test_what_a_view_hides_in_a_document_is_seen(exposed: Made) -> None:
    sql = view(invoker=False, columns="jsonb_build_object('b', body) as found, null::uuid as user_id")
    culprit, said = one(exposed(sql), writes=False)
    assert culprit == "view-bypasses-rls public.mine"
    assert "GET /rest/v1/mine?limit=1000" in said


def test_a_view_that_its_owner_may_not_read_is_missing_access(exposed: Made) -> None:
    revoked = "revoke select on public.notes from authenticated"
    culprit, said = one(exposed(view() + revoked), writes=False)
    assert culprit == "missing-access public.notes, SELECT"
    own = "create view public.mine as select id, user_id from public.notes where user_id = auth.uid();"
    rule = "mine: {rules: [{who: signed-in, may: [select]}]}"
    declared = DECLARED.replace("mine: {owner: user_id, may: all}", rule)
    culprit, said = one(exposed(NOTES + own), writes=False, declared=declared)
    assert culprit == "missing-access public.mine, SELECT"
    assert "GET /rest/v1/mine?or=" in said
    assert "permission denied for view mine" in said


@pytest.mark.parametrize(
    ("policy", "kind", "request_"),
    [
        ("for update to authenticated using (true)", "foreign-update", "PATCH /rest/v1/mine?id=eq."),
        ("for delete to authenticated using (true)", "foreign-delete", "DELETE /rest/v1/mine?id=eq."),
        ("for insert to authenticated with check (true)", "forged-insert", "POST /rest/v1/mine"),
    ],
)
def test_rows_of_a_are_written_through_a_view(exposed: Made, policy: str, kind: str, request_: str) -> None:
    opened = "create policy seen on public.notes for select to authenticated using (true);"
    sql = view() + opened + f"create policy hole on public.notes {policy};"
    report = exposed(sql).probe(DECLARED, writes=True)
    named = {one.object: one for one in report.found}
    hole = named['policy "hole" on public.notes']
    assert hole.rule == kind, told(report)
    bypass = exposed(view(invoker=False)).probe(DECLARED, writes=True)
    (found,) = bypass.found
    assert (found.rule, found.object) == ("view-bypasses-rls", "public.mine")
    assert kind in found.what or any(request_ in proof for proof in found.proofs), told(bypass)
    assert any(f"authenticated (B): {request_}" in proof for proof in found.proofs), told(bypass)


def test_b_gives_a_row_away_through_a_view(exposed: Made) -> None:
    barrier = "where user_id = auth.uid()"  # without a check option it lets the row go
    sql = view(invoker=False, where=barrier)
    report = exposed(sql).probe(DECLARED, writes=True)
    (found,) = report.found
    assert (found.rule, found.object) == ("view-bypasses-rls", "public.mine")
    said = " ".join(found.proofs)
    assert "authenticated (B): PATCH /rest/v1/mine?id=eq." in said
    assert "the row became (user_id=" in said


def test_an_owner_who_may_not_write_through_a_view_is_missing_access(exposed: Made) -> None:
    trigger = """
    create function public.never() returns trigger language plpgsql as $$ begin return null; end $$;
    revoke all on function public.never() from public;
    create trigger never instead of update on public.mine for each row execute function public.never();
    """
    report = exposed(view() + trigger).probe(DECLARED, writes=True)
    assert [one.object for one in report.found] == ["public.mine, UPDATE"], told(report)
    assert "PATCH /rest/v1/mine" in told(report)


def test_what_would_reach_further_is_not_sent_and_said(exposed: Made) -> None:
    """The trigger empties the whole table: rows that were there before stay, as `probe` asserts."""
    trigger = """
    create function public.all() returns trigger language plpgsql security definer set search_path = '' as
    $$ begin delete from public.notes; return old; end $$;
    revoke all on function public.all() from public;
    create trigger everything instead of delete on public.mine for each row execute function public.all();
    """
    report = exposed(view(invoker=False) + trigger).probe(DECLARED, writes=True)
    said = told(report)
    assert (
        "public.mine: not tried through the Data API: writes by authenticated (B) (it would write more"
        in said
    )
    assert "DELETE" not in said


def test_both_ways_name_the_same_finding(exposed: Made) -> None:
    made = exposed(view(invoker=False))
    sql = check(made.dsn, parse(DECLARED), Options())
    both = merged([*sql.found, *made.probe(DECLARED, writes=False).found])
    (found,) = [one for one in both if one.rule == "view-bypasses-rls"]
    assert any("select from" in proof for proof in found.proofs), found
    assert any("GET /rest/v1/mine" in proof for proof in found.proofs), found


def test_a_view_that_the_data_api_does_not_know_is_no_pass(exposed: Made) -> None:
    made = exposed(view())
    with psycopg.connect(made.dsn) as connection:
        connection.execute(b"create schema api; grant usage on schema api to authenticated, anon")
        connection.execute(b"create view api.mine with (security_invoker) as select * from public.notes")
    declared = "schemas: [public, api]\n" + DECLARED + "  api.mine: {owner: user_id, may: [select]}\n"
    report = made.probe(declared, writes=False)
    assert "api.mine: not proven: the Data API does not know it: The schema must be one of" in told(report)
    assert not report.holds


def test_tables_beneath_views_are_planted(exposed: Made) -> None:
    """Of a table of which nothing is declared there is a row as well: an empty view proves nothing."""
    sql = "create schema data;" + view(invoker=False).replace("public.notes", "data.notes")
    declared = "tables:\n  public.mine: {owner: user_id, may: all}\n"
    culprit, _ = one(exposed(sql), writes=False, declared=declared)
    assert culprit == "view-bypasses-rls public.mine"


@pytest.mark.parametrize("token", ["expired token", "forged token"])
def test_a_data_api_that_takes_bad_tokens_is_named(exposed: Made, token: str) -> None:
    made = exposed(view())
    made.api.bad_tokens[token] = made.api.token  # as if it did not look
    report = made.probe(DECLARED, writes=False)
    (found,) = report.found
    assert (found.rule, found.object) == ("token-accepted", "Data API")
    assert f"{token}: GET /rest/v1/mine?or=" in " ".join(found.proofs)


def test_a_data_api_that_trusts_anothers_secret_is_named(exposed: Made) -> None:
    """PostgREST itself, told of a second secret: what that signs is as good as the project's own."""
    report = exposed(view(), also_trusts=OTHERS).probe(DECLARED, writes=False)
    (found,) = report.found
    assert (found.rule, found.object) == ("token-accepted", "Data API")
    assert all(proof.startswith("forged token: GET /rest/v1/") for proof in found.proofs)


HANGS = """
import json, signal, sys
from pathlib import Path
import httpx
from harness.database.data_api import Api, probe
from harness.database.declaration import parse

class Hangs(httpx.HTTPTransport):
    def handle_request(self, request):
        answer = super().handle_request(request)
        if request.method == 'POST' and answer.status_code == 201:
            signal.pause()  # until it is killed
        return answer

dsn, url, journal, declared, given = sys.argv[1:]
keys = json.loads(given)
client = httpx.Client(base_url=url, transport=Hangs(), timeout=60)
api = Api(client, keys['anon'], keys['service'], keys['a'], keys['b'], keys['tokens'].get)
probe(dsn, parse(declared), api, Path(journal), writes=True)
"""


def test_a_run_that_is_killed_after_a_row_was_made_through_a_view(exposed: Made) -> None:
    """The row is there, made by B in the name of A; the next run removes it, and nothing else."""
    made = exposed(view(invoker=False))
    declared = DECLARED.replace(
        "notes: {owner: user_id, may: all}", "notes: {owner: user_id, may: [select]}"
    )
    before, api = made.everything(), made.api
    keys = {"anon": api.anon_key, "service": api.service_key, "a": api.a, "b": api.b}
    keys |= {"tokens": {user: api.token(user) for user in (api.a, api.b)}}
    arguments = (made.dsn, str(api.client.base_url), str(made.journal), declared, json.dumps(keys))
    killed(HANGS, lambda: len(made.rows("public.notes")) == 4, *arguments)
    assert len(made.rows("public.notes")) == 4
    assert swept(made.dsn, made.journal).stays == ()
    assert made.everything() == before
    assert not made.journal.exists()
