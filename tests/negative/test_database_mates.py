"""Members with rows of their own in A's group: who is asked only for the group, or only for some row."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from harness.database.check import Options, check_connection
from harness.database.declaration import parse

SCHEMA = """
create table public.orgs (id uuid primary key default gen_random_uuid(), name text not null);
create table public.seats (
    org uuid not null references public.orgs on delete cascade,
    person uuid not null references auth.users on delete cascade, primary key (org, person));
create table public.projects (
    id uuid primary key default gen_random_uuid(),
    org uuid not null references public.orgs on delete cascade,
    owner uuid not null default auth.uid() references auth.users on delete cascade);
create table public.notes (
    id uuid primary key default gen_random_uuid(),
    org uuid not null references public.orgs on delete cascade,
    project uuid not null references public.projects on delete cascade);
create schema app; grant usage on schema app to authenticated;
create function app.seated(o uuid) returns boolean language sql stable security definer set search_path = ''
    as 'select exists (select from public.seats s where s.org = o and s.person = auth.uid())';
grant execute on function app.seated to authenticated;
alter table public.orgs enable row level security; alter table public.seats enable row level security;
alter table public.projects enable row level security; alter table public.notes enable row level security;
create policy own on public.projects for select to authenticated using (owner = auth.uid());
create policy ours on public.notes for select to authenticated using (
    app.seated(org)
    and exists (select from public.projects p where p.id = notes.project and p.owner = auth.uid()));
grant select on public.projects, public.notes to authenticated;
"""
DECLARED = """
memberships: {org: {table: public.seats, user: person, group: org}}
tables:
  public.orgs: {service_only: true}
  public.seats: {service_only: true}
  public.projects: {owner: owner, may: [select]}
  public.notes:
    rules:
      - who: members
        of: org
        by: org
        may: [select]
        where: exists (select from public.projects p where p.id = notes.project and p.owner = auth.uid())
"""


def test_one_who_has_a_project_is_not_one_who_has_this_project(bare: Callable[[str], str]) -> None:
    with psycopg.connect(bare(SCHEMA)) as connection:
        right = check_connection(connection, parse(DECLARED), Options())
        connection.rollback()
        connection.execute(
            "alter policy ours on public.notes using (app.seated(org) and exists ("
            "select from public.projects p where p.owner = auth.uid()))"
        )
        (found,) = check_connection(connection, parse(DECLARED), Options()).found
        connection.rollback()
    assert right.holds, right
    assert "public.orgs: 2 rows, rolled back" in right.writes  # of A and B: members share A's
    assert (found.rule, found.object) == ("foreign-read", 'policy "ours" on public.notes')
    assert "member of org" in found.proofs[0]
