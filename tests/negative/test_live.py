"""Negative controls: what runs is not what the release says, in a real gateway, web app and database."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest

from harness.artefacts import TREE
from harness.checks import live
from harness.checks.rollout import RollsOut
from harness.environment.loader import load
from harness.evidence import Evidence, Verdict
from harness.providers import web_build
from harness.providers.gateway_environment import source_digest
from harness.release import Release
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.gateway_stack import RealStack
from tests.inference_stack import RealEngines, broken_instant
from tests.pg_fixture import ROOT, Database
from tests.web_stack import WebStand

OTHER = "sha256:" + "e" * 64


def told(evidence: Evidence) -> tuple[str, str]:
    assert evidence.verdict is Verdict.REFUTED, evidence.summary
    [finding] = evidence.findings
    return finding.expected, finding.observed


@pytest.fixture(scope="module")
def release() -> Release:
    return Release.build(ROOT)


def test_a_gateway_of_another_release_is_named(gateway_stack: RealStack, release: Release) -> None:
    stack = gateway_stack.stack
    source = source_digest(stack.root)
    stack.release = replace(release, artefacts={"gateway-source": f"sha256:{source}"})
    assert live.gateway_is_released(stack).verdict is Verdict.HOLDS
    stack.release = replace(release, artefacts={"gateway-source": OTHER})
    assert told(live.gateway_is_released(stack)) == ("gateway@eeeeeeeeeeee", f"gateway@{source[:12]}")
    stack.release = None
    assert live.gateway_is_released(stack).verdict is Verdict.BLOCKED


def rolling(digest: str) -> RollsOut:
    """A provider whose one container runs the image ``digest``."""
    provider = mock.create_autospec(RollsOut, instance=True)
    provider.running.return_value = {"gateway-1": digest}
    return provider


def test_a_container_of_another_image_is_named(gateway_stack: RealStack, release: Release) -> None:
    """The gateway itself is the real one; what its container runs is what a provider reads back."""
    real = gateway_stack.stack
    hosted = load("staging", ROOT).environment.gateway.model_copy(
        update={"url": real.environment.gateway.url}
    )
    environment = real.environment.model_copy(update={"gateway": hosted})
    stack = Stack(real.root, real.state, environment, SecretStore(real.root, real.state))
    artefacts = {"gateway-source": f"sha256:{source_digest(real.root)}", "gateway-image": OTHER}
    stack.release = replace(release, artefacts=artefacts)
    stack.providers["gateway"] = rolling(OTHER)
    assert live.gateway_is_released(stack).verdict is Verdict.HOLDS
    stack.providers["gateway"] = rolling("sha256:" + "f" * 64)
    assert told(live.gateway_is_released(stack)) == (OTHER, "sha256:" + "f" * 64)
    stack.providers["gateway"] = gateway_stack.gateway
    assert live.gateway_is_released(stack).verdict is Verdict.BLOCKED, "nothing reads the image back"
    stack.close()


def test_a_web_app_of_another_release_is_named(web_stand: WebStand, release: Release) -> None:
    stack = web_stand.stack
    source = web_build.source_digest(stack.root / "web")
    stack.release = replace(release, artefacts={"web-build": f"sha256:{source}"})
    assert live.web_is_released(stack).verdict is Verdict.HOLDS
    stack.release = replace(release, artefacts={"web-build": OTHER})
    assert told(live.web_is_released(stack)) == ("web@eeeeeeeeeeee", f"web@{source[:12]}")


def test_a_migration_that_is_not_of_the_release_is_named(
    database_stack: Stack, database: Database, release: Release
) -> None:
    database_stack.release = release
    assert live.schema_is_released(database_stack).verdict is Verdict.HOLDS
    database.execute(
        "insert into supabase_migrations.schema_migrations (version, name, statements)"
        " values ('20261102000000', 'by_hand', array['select 1'])"
    )
    expected, observed = told(live.schema_is_released(database_stack))
    assert "by_hand" not in expected
    assert "20261102000000_by_hand.sql" in observed
    fewer = dict(list(release.migrations.items())[:-1])
    database_stack.release = replace(release, migrations=fewer)
    assert live.schema_is_released(database_stack).verdict is Verdict.REFUTED


def test_other_sql_under_a_released_name_is_named(
    database_stack: Stack, database: Database, release: Release
) -> None:
    database_stack.release = release
    newest = list(release.migrations)[-1]
    edit = "update supabase_migrations.schema_migrations set statements = {} where version = '{}'"
    database.execute(edit.format("array_append(statements, '-- nothing but words')", newest[:14]))
    assert live.schema_is_released(database_stack).verdict is Verdict.HOLDS
    database.execute(edit.format("array_append(statements, 'drop table x')", newest[:14]))
    assert told(live.schema_is_released(database_stack)) == (
        f"the SQL of {newest}",
        "other SQL under its name",
    )


def test_a_file_that_is_not_the_released_one_is_named(
    database_stack: Stack, database: Database, release: Release
) -> None:
    newest = list(release.migrations)[-1]
    database_stack.release = replace(release, migrations={**release.migrations, newest: OTHER})
    assert told(live.schema_is_released(database_stack)) == (OTHER, release.migrations[newest])


def test_an_engine_of_another_configuration_is_named(engines: RealEngines, release: Release) -> None:
    engines.stack.release = release
    assert live.inference_is_released(engines.stack).verdict is Verdict.HOLDS
    with broken_instant(engines, context_tokens=512):
        found = live.inference_is_released(engines.stack)
        assert told(found)[0].startswith("configuration ")
        assert found.findings[0].where == "the engine of instant"
    engines.processes.stop("thinking")
    assert told(live.inference_is_released(engines.stack))[1] == "it does not run"


def test_another_model_manifest_is_named(engines: RealEngines, release: Release) -> None:
    for artefact in ("model-manifest", "inference-configuration"):
        engines.stack.release = replace(release, artefacts={**release.artefacts, artefact: OTHER})
        seen = f"sha256:{TREE[artefact](engines.stack.root)}"
        assert told(live.inference_is_released(engines.stack)) == (OTHER, seen)
