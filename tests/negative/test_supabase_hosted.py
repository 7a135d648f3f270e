"""A hosted project: deployed to, asked everything, broken; tests/hosted_project.py says what is real."""

from __future__ import annotations

import json

import httpx
import psycopg
import pytest

from harness.checks import (
    backups,
    database,
    hosted,
    live,
    migration_trials,
    migrations,
    pgtap,
    rls,
    service_key,
    storage,
)
from harness.errors import DeployError
from harness.evidence import Verdict
from harness.providers.supabase_cli import Target, asked_advisors
from tests.hosted_project import Hosted, declaration, hosted_project
from tests.management_api import encrypted, exposing, healthy, networks, project
from tests.supabase_proof import holds, refutes, told

__all__ = ["declaration", "hosted_project"]

EVERYTHING = (
    rls.reads,
    rls.writes,
    rls.unfiltered_writes,
    rls.declared,
    rls.advised,
    storage.buckets,
    storage.objects,
    service_key.not_forged,
    backups.restorable,
    database.monitored,
    migrations.recorded,
    migrations.created,
    migration_trials.from_scratch,
    migration_trials.on_top,
    migration_trials.reversible,
    pgtap.tested,
    hosted.closed,
    hosted.exposed,
)
EVERYWHERE = ("0.0.0.0/0", "::/0")


@pytest.fixture(autouse=True)
def as_declared(hosted_project: Hosted) -> None:
    """Before each test the platform is well, and what is declared is deployed."""
    hosted_project.platform.says = {
        "": project(),
        "health": healthy(),
        "ssl-enforcement": encrypted(),
        "network-restrictions": networks(*EVERYWHERE),
        "postgrest": exposing(),
    }
    hosted_project.provider.deploy(lambda _: None)


def test_a_deploy_brings_everything_once(hosted_project: Hosted) -> None:
    assert hosted_project.provider.plan().unchanged
    assert not hosted_project.provider.deploy(lambda _: None).changed
    assert hosted_project.execute("select count(*) from supabase_migrations.schema_migrations") != [(0,)]
    (dump,) = sorted((hosted_project.stack.state / "backups").glob("*.dump"))[:1]
    assert dump.stat().st_size  # before anything was migrated


@pytest.mark.parametrize("check", EVERYTHING, ids=lambda check: check.name)
def test_everything_holds_on_a_healthy_project(hosted_project: Hosted, check) -> None:
    holds(check, hosted_project.stack)


# --- the platform --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "told_of"),
    [
        (project("INACTIVE"), "the project is INACTIVE"),
        (project("ACTIVE_UNHEALTHY"), "the project is ACTIVE_UNHEALTHY"),
        (project(engine="15"), "runs PostgreSQL 15, declared is 17"),
    ],
)
def test_nothing_is_deployed_to_a_project_that_is_not_well(hosted_project: Hosted, says, told_of) -> None:
    hosted_project.platform.says[""] = says
    for work in (hosted_project.provider.plan, lambda: hosted_project.provider.deploy(lambda _: None)):
        with pytest.raises(DeployError, match=told_of) as caught:
            work()
        assert caught.value.hint


def test_a_part_that_is_ill_is_named(hosted_project: Hosted) -> None:
    ill = [*healthy(auth="UNHEALTHY"), {"name": "realtime", "healthy": True, "status": "ACTIVE_HEALTHY"}]
    ill[3]["error"] = "connection refused"
    hosted_project.platform.says["health"] = ill
    refutes(database.monitored, hosted_project.stack, "healthy: auth", "UNHEALTHY: connection refused")
    hosted_project.platform.says["health"] = [one for one in healthy() if one["name"] != "rest"]
    refutes(database.monitored, hosted_project.stack, "healthy: rest", "the platform says nothing of it")
    asked = hosted_project.platform.asked[-1].url
    assert asked.params.get_list("services") == ["db", "pooler", "rest", "auth", "storage"]


def test_a_database_without_enforced_tls_is_seen(hosted_project: Hosted) -> None:
    hosted_project.platform.says["ssl-enforcement"] = encrypted(enforced=False)
    refutes(hosted.closed, hosted_project.stack, "connections without TLS are refused", "ssl-enforcement")
    hosted_project.platform.says["ssl-enforcement"] = encrypted(applied=False)
    refutes(hosted.closed, hosted_project.stack, "it is stored, not applied")


def test_a_network_that_may_connect_too_is_named(hosted_project: Hosted) -> None:
    hosted_project.platform.says["network-restrictions"] = networks(*EVERYWHERE, "203.0.113.0/24")
    refutes(hosted.closed, hosted_project.stack, "203.0.113.0/24 may connect too")
    hosted_project.platform.says["network-restrictions"] = networks("0.0.0.0/0")
    refutes(hosted.closed, hosted_project.stack, "::/0 may connect", "it may not")
    hosted_project.platform.says["network-restrictions"] = networks(*EVERYWHERE, status="stored")
    refutes(hosted.closed, hosted_project.stack, "they are stored, not applied")
    hosted_project.platform.says["network-restrictions"] = networks(entitlement="disallowed")
    holds(hosted.closed, hosted_project.stack)  # a plan without restrictions lets everybody in, as declared


def test_a_schema_that_is_exposed_too_is_named(hosted_project: Hosted) -> None:
    hosted_project.platform.says["postgrest"] = exposing("public, usage,graphql_public")
    text = told(refutes(hosted.exposed, hosted_project.stack, "usage is exposed too"))
    assert "graphql_public is exposed too" in text
    assert "the-jwt-secret" not in text
    hosted_project.platform.says["postgrest"] = exposing("graphql_public")
    refutes(hosted.exposed, hosted_project.stack, "public is exposed", "only graphql_public")


def test_more_rows_than_configured_are_seen(hosted_project: Hosted) -> None:
    hosted_project.platform.says["postgrest"] = exposing(rows=100_000)
    refutes(hosted.exposed, hosted_project.stack, "at most 1000 rows an answer", "up to 100000")


# --- the database --------------------------------------------------------------------------------


def test_a_certificate_of_another_authority_is_refused(hosted_project: Hosted, monkeypatch) -> None:
    settings = hosted_project.provider.settings
    other = settings.database_ca.replace("ca.crt", "other-ca.crt")
    changed = settings.model_copy(update={"database_ca": other})
    monkeypatch.setattr(hosted_project.provider, "settings", changed)
    evidence = rls.declared(hosted_project.stack)
    assert evidence.verdict is Verdict.UNREACHABLE
    assert "certificate verify failed" in evidence.summary
    monkeypatch.setattr(
        hosted_project.provider, "settings", settings.model_copy(update={"database_ca": "nowhere.crt"})
    )
    with pytest.raises(DeployError, match="there is no file"):
        hosted_project.provider.deploy(lambda _: None)


@pytest.mark.parametrize(
    ("changed", "told_of"),
    [({"database_port": 9}, "cannot log in at 127.0.0.1:9"), ({"pooler": True}, "cannot log in at")],
)
def test_a_database_that_lets_nobody_in_is_named(
    hosted_project: Hosted, monkeypatch, changed, told_of
) -> None:
    settings = hosted_project.provider.settings
    monkeypatch.setattr(hosted_project.provider, "settings", settings.model_copy(update=changed))
    for work in (hosted_project.provider.plan, lambda: hosted_project.provider.deploy(lambda _: None)):
        with pytest.raises(DeployError, match=told_of) as caught:
            work()
        assert "database_password" in (caught.value.hint or "")
        password = hosted_project.stack.secret(settings.database_password).reveal()
        assert password not in str(caught.value)


def test_a_platform_that_does_not_answer_is_named(hosted_project: Hosted, monkeypatch) -> None:
    def silent(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    url = hosted_project.provider.settings.management_url
    client = httpx.Client(base_url=url, transport=httpx.MockTransport(silent))
    monkeypatch.setitem(hosted_project.stack._clients, url, client)
    with pytest.raises(DeployError, match="no answer: refused"):
        hosted_project.provider.plan()


def test_the_cli_verifies_the_certificate_too(hosted_project: Hosted) -> None:
    right = hosted_project.provider.dsn()
    wrong = right.replace("ca.crt", "other-ca.crt")
    assert wrong != right
    cli = hosted_project.provider.cli
    assert isinstance(asked_advisors(cli, Target.from_dsn(right)), list)
    with pytest.raises(DeployError, match="verify"):
        asked_advisors(cli, Target.from_dsn(wrong))


def test_a_gateway_that_cannot_log_in_is_let_in_again(hosted_project: Hosted) -> None:
    hosted_project.execute("alter role gateway password 'another'", superuser=True)
    assert hosted_project.provider.plan().changes == ("set the password of gateway",)
    assert hosted_project.provider.deploy(lambda _: None).changes == ("set the password of gateway",)
    assert hosted_project.provider.plan().unchanged


def test_a_migration_is_applied_after_a_backup(hosted_project: Hosted, declaration) -> None:
    new = declaration / "migrations" / "20991231000000_note.sql"
    new.write_text("do $$ begin end $$;\n")
    assert hosted_project.provider.plan().changes == ("apply migration 20991231000000_note",)
    first, second = hosted_project.provider.deploy(lambda _: None).changes
    assert first.startswith("backed up to ") and second == "applied migration 20991231000000_note"
    hosted_project.execute(
        "delete from supabase_migrations.schema_migrations where version = '20991231000000'"
    )


def test_what_was_changed_by_hand_is_named(hosted_project: Hosted) -> None:
    """Of the platform's schemas only what a project adds to them counts."""
    hosted_project.execute("create policy everybody on storage.objects for select using (true)")
    refutes(migration_trials.from_scratch, hosted_project.stack, "policy storage.objects.everybody")
    refutes(storage.objects, hosted_project.stack, "everybody")
    hosted_project.execute("drop policy everybody on storage.objects; create table public.by_hand (id int)")
    refutes(migration_trials.from_scratch, hosted_project.stack, "public.by_hand")
    hosted_project.execute("drop table public.by_hand")
    hosted_project.execute("alter table auth.users add column newer text", superuser=True)
    holds(migration_trials.from_scratch, hosted_project.stack)
    hosted_project.execute("alter table auth.users drop column newer", superuser=True)


def test_a_dump_without_a_table_is_seen(hosted_project: Hosted, monkeypatch) -> None:
    options = type(hosted_project.provider.scope).dump_options

    def without(self, connection, *, kept: bool = True) -> list[str]:
        return [*options(self, connection, kept=kept), "--exclude-table=auth.sessions"]

    right = hosted_project.provider.backup

    def short(snapshot: str):
        with monkeypatch.context() as patch:
            patch.setattr(type(hosted_project.provider.scope), "dump_options", without)
            return right(snapshot)

    monkeypatch.setattr(hosted_project.provider, "backup", short)
    refutes(backups.restorable, hosted_project.stack, "auth.sessions in the backup", "not in the backup")


def test_an_extension_that_is_not_here_is_no_broken_backup(hosted_project: Hosted, monkeypatch) -> None:
    bare = hosted_project.provider.trials.bare
    monkeypatch.setattr(
        hosted_project.provider.trials,
        "bare",
        lambda roles, needed: bare(roles, [("vector", "extensions")]),
    )
    evidence = backups.restorable(hosted_project.stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert "the extension vector, which is not to be had on this machine" in evidence.summary


def test_schema_of_the_release(hosted_project: Hosted) -> None:
    evidence = live.schema_is_released(hosted_project.stack)
    assert evidence.verdict is Verdict.BLOCKED  # nothing says which release it is
    assert json.dumps(evidence.as_dict())


def test_nothing_secret_is_shown(hosted_project: Hosted) -> None:
    stack, settings = hosted_project.stack, hosted_project.provider.settings
    hidden = [
        stack.secret(reference).reveal()
        for reference in (settings.database_password, settings.jwt_secret, settings.access_token)
    ]
    hosted_project.platform.says["postgrest"] = exposing("other")
    shown = json.dumps([check(stack).as_dict() for check in (hosted.closed, hosted.exposed)])
    shown += repr(hosted_project.provider.plan())
    assert not [one for one in hidden if one in shown]


def test_the_server_for_trials_ends_with_the_stack(hosted_project: Hosted) -> None:
    trials = hosted_project.provider.trials
    with trials.baseline() as dsn, psycopg.connect(dsn) as connection:
        (port,) = connection.execute("select inet_server_port()").fetchone() or (0,)
    trials.close()
    assert not trials.directory.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"host=127.0.0.1 port={port} connect_timeout=2")
    with trials.baseline() as dsn:  # and begins anew when it is needed again
        psycopg.connect(dsn).close()
