"""Steps about where a release runs, how it gets there, and how it is taken back."""

from __future__ import annotations

from pytest_bdd import parsers, then, when

from harness.asking import Ask
from harness.checks import (
    backup_age,
    backups,
    live,
    promotion,
    rollback,
    rollback_database,
    rollback_inference,
    smoke,
    topology,
)


@then("a conversation goes through web, gateway, both models and the database, and is booked")
def _(ask: Ask) -> None:
    ask(smoke.conversation)


@then(
    parsers.parse("the component {component} is provided by {provider} and answers at its declared address")
)
def _(ask: Ask, component: str, provider: str) -> None:
    ask(topology.placed[component], provider=provider)


@then("everything that listens does so on loopback, and belongs to the stack")
def _(ask: Ask) -> None:
    ask(topology.loopback)


@then("no two environments share a host, a project or a secret")
def _(ask: Ask) -> None:
    ask(topology.apart)


@then("no commit holds a secret of this environment, a private key or a .env file")
def _(ask: Ask) -> None:
    ask(promotion.secrets_not_committed)


@then("the gate has let in this very release")
def _(ask: Ask) -> None:
    ask(promotion.let_in)


@then("as many people as are asked for have approved this very release")
def _(ask: Ask) -> None:
    ask(promotion.approved)


@then("the gateway that runs is that of this release")
def _(ask: Ask) -> None:
    ask(live.gateway_is_released)


@then("the web app that runs is that of this release")
def _(ask: Ask) -> None:
    ask(live.web_is_released)


@then("the schema that runs is that of this release")
def _(ask: Ask) -> None:
    ask(live.schema_is_released)


@then("both models run as this release configures them")
def _(ask: Ask) -> None:
    ask(live.inference_is_released)


@then("its previous deployment is kept and can serve again")
def _(ask: Ask) -> None:
    ask(rollback.web_reverted)


@when("the web app goes back to its previous deployment")
@then("that serves within a minute, and the newest again after it")
def _(ask: Ask) -> None:
    ask(rollback.web_taken_back)


@then("its previous image is kept and can be deployed again")
def _(ask: Ask) -> None:
    ask(rollback.gateway_redeployed)


@then("the platform keeps a backup as fresh as promised, and one kept off the platform can be restored")
def _(ask: Ask) -> None:
    ask(backup_age.fresh)
    ask(backups.restorable)


@when("a new configuration of the instant model is deployed and taken back")
@then("the one before serves again in time, and everything about it holds")
def _(ask: Ask) -> None:
    ask(rollback_inference.instant_taken_back)


@when("a backup is restored in the place of the live database")
@then("everything of the backup is back, nothing later, and the stack goes on")
def _(ask: Ask) -> None:
    ask(rollback_database.restored)


@when("the newest migration is taken back")
@then("the schema is the previous release's, and the newest comes again with its data")
def _(ask: Ask) -> None:
    ask(rollback_database.reversed_)


@then("the configuration before is kept on its host, and can be started again")
def _(ask: Ask) -> None:
    ask(rollback_inference.instant_kept)
