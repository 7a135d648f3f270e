"""Negative controls on real machines of what runs there: the instant engine and Supabase under systemd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.checks import (
    database,
    inference,
    migration_trials,
    migrations,
    processes,
    rls,
    service_key,
    topology,
)
from harness.checks.base import Check
from harness.errors import DeployError
from harness.evidence import Evidence, Verdict
from harness.providers.pod import instant as instant_module
from harness.providers.pod.configuration import HOME, UNIT, Configuration
from tests.services_stack import Services, quietly

pytestmark = pytest.mark.slow
CHECKS: dict[str, Check] = {
    question.name: question
    for question in (
        inference.served_model["instant"],
        inference.answers["instant"],
        processes.key_hidden["instant"],
        processes.weights["instant"],
        database.monitored,
        migrations.recorded,
        migration_trials.from_scratch,
        rls.reads,
        service_key.in_logs,
        service_key.in_processes,
    )
}
KEY = "instant.key_hidden"
WEIGHTS = "instant.weights"


def said(evidence: Evidence) -> str:
    return "\n".join(str(finding) for finding in evidence.findings)


def only(services: Services, *culprits: str) -> str:
    """Ask everything: ``culprits`` refute, the rest hold. What the culprits say."""
    asked = {name: question(services.stack) for name, question in CHECKS.items()}
    wrong = {name for name, evidence in asked.items() if evidence.verdict is not Verdict.HOLDS}
    shown = {name: (str(e.verdict), e.summary, said(e)) for name, e in asked.items() if name in wrong}
    assert wrong == set(culprits), shown
    assert all(asked[name].verdict is Verdict.REFUTED for name in wrong), shown
    return "\n".join(said(asked[name]) for name in culprits)


def test_the_right_machines_pass_and_a_second_deploy_changes_nothing(services: Services) -> None:
    only(services)
    for provider in (services.instant, services.supabase):
        pids = {program.name: program.pid for program in services.stack.processes.programs()}
        assert provider.plan().unchanged
        assert not provider.deploy(quietly).changed
        assert pids == {program.name: program.pid for program in services.stack.processes.programs()}


def test_a_key_in_an_argument_on_the_machine_is_named(services: Services) -> None:
    key = services.stack.secret(services.stack.environment.instant.api_key).reveal()
    leak = f"systemd-run --quiet --unit=leak sh -c 'sleep 600; : {key}'"
    with services.broken("instant", leak, "systemctl stop leak"):
        text = only(services, KEY)
    assert "on instant)" in text
    assert key not in text


def test_weights_that_were_replaced_under_the_engine_are_named(services: Services) -> None:
    file = f"{HOME}/weights/{services.stack.environment.instant.model.sha256}.gguf"
    swap = f"cp {file} {file}.other && printf x >>{file}.other && mv {file}.other {file}"
    with services.broken("instant", swap):
        text = only(services, WEIGHTS)
        assert any("copy the weights" in change for change in services.instant.plan().changes)
    assert "was replaced or deleted after it was loaded" in text
    assert "on instant" in text


def test_an_engine_on_a_machine_that_is_not_restarted_is_refuted(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = services.stack.environment
    instant = environment.instant.model_copy(update={"recover_within_seconds": 6.0})  # none comes anyway
    monkeypatch.setattr(services.stack, "environment", environment.model_copy(update={"instant": instant}))
    drop_in = f"/run/systemd/system/{UNIT}.d"
    careless = (
        f"mkdir -p {drop_in}; printf '[Service]\\nRestart=no\\n' >{drop_in}/x.conf; systemctl daemon-reload"
    )
    with services.broken("instant", careless, f"rm -r {drop_in}; systemctl daemon-reload"):
        evidence = processes.engine_recovers(services.stack)
    assert evidence.verdict is Verdict.REFUTED, evidence.summary
    assert "set it to restart the program always" in said(evidence)


def test_a_configuration_that_was_changed_by_hand_is_drift(services: Services) -> None:
    by_hand = f"sed -i s/Restart=always/Restart=no/ /etc/systemd/system/{UNIT}"
    with services.broken("instant", by_hand):
        evidence = topology.placed["instant"](services.stack, provider="pod")
    assert evidence.verdict is Verdict.REFUTED
    assert "a deploy would change: " in said(evidence)
    rules = "sed -i s/scram-sha-256/trust/ /etc/supabase/pg_hba.conf"
    with services.broken("database", rules):
        evidence = topology.placed["supabase"](services.stack, provider="host")
    assert "start postgres" in said(evidence)


def test_a_configuration_that_does_not_serve_is_taken_back_by_itself(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = services.instant.in_use()
    right = instant_module.configuration
    broken = b"raise SystemExit('this release does not start')\n"

    def not_starting(*arguments: Any) -> Configuration:
        made = right(*arguments)
        return replace(
            made, files={**made.files, "inference/llamacpp_server.py": broken}, start_seconds=3.0
        )

    monkeypatch.setattr(instant_module, "configuration", not_starting)
    with pytest.raises(DeployError, match=f"configuration {before} serves again"):
        services.instant.deploy(quietly)
    assert services.instant.in_use() == before


def test_a_service_key_in_an_environment_on_the_machine_is_named(services: Services) -> None:
    key = services.stack.identities.service_role_key().reveal()
    drop_in = "/run/systemd/system/supabase-api.service.d"
    leak = (
        f"mkdir -p {drop_in}; printf '[Service]\\nEnvironment=LEAK={key}\\n' >{drop_in}/x.conf;"
        " systemctl daemon-reload; systemctl restart supabase-api"
    )
    healed = f"rm -r {drop_in}; systemctl daemon-reload; systemctl restart supabase-api"
    with services.broken("database", leak, healed):
        services.stack.processes.start("api")
        text = only(services, "supabase.service_key.processes")
    assert "environment of api" in text
    assert "on database" in text
    services.stack.processes.start("api")


def test_a_service_that_stopped_is_named(services: Services) -> None:
    with services.stack.processes.stopped("postgrest"):
        evidence = database.monitored(services.stack)
        assert evidence.verdict is Verdict.REFUTED
        assert "PostgREST" in said(evidence)
        assert any("start postgrest" in change for change in services.supabase.plan().changes)


def test_nobody_but_the_machine_itself_is_its_superuser(services: Services) -> None:
    """The password alone is not enough: what does not come through ssh is refused."""
    server = services.supabase.server
    machine = services.stack.environment.machines.host("database")
    there = make_conninfo(
        server.dsn(), host=machine.private_address, port=services.supabase.settings.database_port
    )
    with pytest.raises(psycopg.OperationalError, match=r"timeout|pg_hba|rejects|refused"):
        psycopg.connect(there, connect_timeout=2)
