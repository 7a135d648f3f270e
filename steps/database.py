"""Steps about Supabase: row level security, storage, keys, backups, monitoring, migrations."""

from __future__ import annotations

from pytest_bdd import then

from harness.asking import Ask
from harness.checks import (
    backup_age,
    backups,
    database,
    hosted,
    migration_lint,
    migration_trials,
    migrations,
    pgtap,
    rls,
    service_key,
    storage,
)


@then("its owner and the service role see a planted row of every table, and nobody else does")
def _(ask: Ask) -> None:
    ask(rls.reads)


@then("nobody can insert, change or delete a row in another user's name")
def _(ask: Ask) -> None:
    ask(rls.writes)


@then("updates and deletes without a filter touch only the caller's own rows, and no row can be given away")
def _(ask: Ask) -> None:
    ask(rls.unfiltered_writes)


@then("every table, view and function of the exposed schema is declared and bound to its owner")
def _(ask: Ask) -> None:
    ask(rls.declared)


@then("the hosted Data API exposes the configured schemas alone, and no more rows at once")
def _(ask: Ask) -> None:
    ask(hosted.exposed)


@then("its database refuses connections without encryption, and from networks that are not declared")
def _(ask: Ask) -> None:
    ask(hosted.closed)


@then("Supabase's own security advisors have nothing to warn of")
def _(ask: Ask) -> None:
    ask(rls.advised)


@then("every storage bucket is private and limited exactly as declared")
def _(ask: Ask) -> None:
    ask(storage.buckets)


@then("nobody lists, reads, adds, overwrites or deletes files in another user's folder")
def _(ask: Ask) -> None:
    ask(storage.objects)


@then("no file of the repository holds a service role key")
def _(ask: Ask) -> None:
    ask(service_key.in_files)


@then("no program has logged the service role key")
def _(ask: Ask) -> None:
    ask(service_key.in_logs)


@then("no process has the service role key in its arguments or environment")
def _(ask: Ask) -> None:
    ask(service_key.in_processes)


@then("expired, forged and unsigned service keys are refused, and the public key is no service key")
def _(ask: Ask) -> None:
    ask(service_key.not_forged)


@then("a fresh backup brings back every table, row, policy and grant in an empty project")
def _(ask: Ask) -> None:
    ask(backups.restorable)


@then("its monitoring answers, and no metric is out of bounds")
def _(ask: Ask) -> None:
    ask(database.monitored)


@then("a new migration can be created, is the newest, and is all that a push would apply")
def _(ask: Ask) -> None:
    ask(migrations.created)


@then("the migrations applied to an empty project make the live schema")
def _(ask: Ask) -> None:
    ask(migration_trials.from_scratch)


@then("the migrations recorded in the database are those of the repository, unedited")
def _(ask: Ask) -> None:
    ask(migrations.recorded)


@then("up, down and up again, each migration leaves the schema as it was and keeps the rows")
def _(ask: Ask) -> None:
    ask(migration_trials.reversible)


@then("no migration loses data, locks a table in use or is refused when hosted, unless it says why")
def _(ask: Ask) -> None:
    ask(migration_lint.vetted)


@then("the migrations since the previous release apply to its schema with rows in it, and lose none")
def _(ask: Ask) -> None:
    ask(migration_trials.on_top)


@then("every pgTAP test of the project holds in the environment's database")
def _(ask: Ask) -> None:
    ask(pgtap.tested)


@then("its newest backup is as fresh as promised, and recovery to any moment is on where it must be")
def _(ask: Ask) -> None:
    ask(backup_age.fresh)
