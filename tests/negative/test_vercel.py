"""Negative controls of the web app at Vercel: what is wrong there is named, with its place and a remedy."""

# ruff: noqa: F811 - fixtures are imported
from __future__ import annotations

from typing import Any

import pytest

from harness.checks import rollback, web
from harness.evidence import Verdict
from harness.providers.cloud import vercel, vercel_serving
from tests.vendor_server import Told
from tests.vercel_stand import OLD, PROBE, VercelStand, preview, production, refused  # noqa: F401

ANY = pytest.mark.parametrize("name", ["production", "preview"])


# --- what runs ---------------------------------------------------------------------------------------


@ANY
def test_another_release_than_declared_is_planned_away_and_refuted(name: str, request) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    assert f"(now: {OLD[vercel.RELEASE]})" in stand.provider.plan().changes[-1]
    evidence = web.serves(stand.stack)
    assert evidence.verdict is Verdict.REFUTED
    assert OLD[vercel.RELEASE] in evidence.findings[0].observed


def test_a_deployment_that_nobody_here_made_is_not_taken_for_ours(production: VercelStand) -> None:
    production.double.served(production.host, "production", {})
    assert "(now: an unknown release)" in production.provider.plan().changes[-1]


def test_a_missing_variable_is_named(production: VercelStand) -> None:
    production.double.variables = [o for o in production.double.variables if o["key"] != "WEB_PROBE_TOKEN"]
    production.double.variable("WEB_PROBE_TOKEN", PROBE, "sensitive", "preview")
    assert production.provider.plan().changes[0] == "set WEB_PROBE_TOKEN (there is none for production)"


def test_a_secret_that_anybody_can_read_is_named(production: VercelStand) -> None:
    production.double.variables.pop()
    production.double.variable("WEB_PROBE_TOKEN", PROBE, "plain", "production")
    [change, *_] = production.provider.plan().changes
    assert change == "set WEB_PROBE_TOKEN (its type is plain, wanted sensitive)"
    assert PROBE not in repr(production.provider.api.variables())


def test_a_variable_that_other_targets_share_is_not_changed_for_them(production: VercelStand) -> None:
    production.double.variables[0]["target"] = ["preview", "production"]
    text = refused(production)
    assert "GATEWAY_URL is one variable for preview, production" in text
    assert "/v10/projects/chat-web/env" in text


def test_a_variable_that_is_not_kept_is_named(production: VercelStand) -> None:
    production.double.variables.pop()
    failed = {"created": {}, "failed": [{"error": {"code": "ENV_LIMIT", "message": "too many"}}]}
    production.double.instead["POST", "/env"] = Told(201, failed)
    assert "WEB_PROBE_TOKEN is not kept" in refused(production)


# --- the project -------------------------------------------------------------------------------------

DOMAINS: list[tuple[str, dict[str, Any], str]] = [
    ("production", {"verified": False}, "is not verified"),
    (
        "production",
        {
            "verified": False,
            "verification": [
                {"type": "TXT", "domain": "_vercel.chat.example", "value": "vc=1", "reason": "pending"}
            ],
        },
        "asks for TXT _vercel.chat.example",
    ),
    ("production", {"redirect": "www.chat.example"}, "leads to www.chat.example"),
    ("production", {"gitBranch": "staging"}, "is the domain of staging"),
    ("production", {"name": "other.example"}, "has no domain chat.example"),
    ("preview", {"gitBranch": None}, "is a production domain"),
    ("preview", {"verified": False}, "is not verified"),
]


@pytest.mark.parametrize(("name", "changes", "said"), DOMAINS)
def test_a_domain_that_is_not_as_it_must_be_is_named(name: str, changes, said: str, request) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    stand.double.domains[0].update(changes)
    text = refused(stand)
    assert said in text
    assert "/v9/projects/chat-web/domains" in text
    assert not stand.double.sent("POST")


@pytest.mark.parametrize(
    ("name", "kind"), [("production", "all"), ("preview", "prod_deployment_urls_and_all_previews")]
)
def test_a_project_that_asks_people_to_sign_in_to_vercel_is_named(name: str, kind: str, request) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    stand.double.project["ssoProtection"] = {"deploymentType": kind}
    assert f"visitors must sign in to Vercel (ssoProtection: {kind})" in refused(stand)


def test_a_repository_that_vercel_deploys_from_past_the_gate_is_named(production: VercelStand) -> None:
    production.double.project["link"] = {"type": "github", "productionBranch": "main"}
    assert "a push to main would go live by itself, past the gate" in refused(production)
    production.double.project["autoAssignCustomDomains"] = False
    production.deploy()
    assert production.served == production.release


def test_a_project_that_looks_for_a_folder_is_named(preview: VercelStand) -> None:
    preview.double.project["rootDirectory"] = "web"
    assert "its root directory is 'web'" in refused(preview)


# --- the deployment ----------------------------------------------------------------------------------


@ANY
@pytest.mark.parametrize(
    ("becomes", "said"),
    [
        (
            {"readyState": "ERROR", "errorCode": "lambda_size", "errorMessage": "too large"},
            "is ERROR: lambda_size too large",
        ),
        ({"readyState": "CANCELED"}, "is CANCELED"),
        ({"readyState": "READY", "checksConclusion": "failed"}, "its checks have failed"),
    ],
)
def test_a_deployment_that_fails_is_named(name: str, becomes, said: str, request) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    stand.double.becomes = becomes
    text = refused(stand)
    assert said in text
    assert "/v13/deployments/dpl_" in text
    assert not stand.double.sent("POST", "/promote/") + stand.double.sent("POST", "/aliases")


@ANY
def test_a_deployment_that_is_never_ready_has_a_deadline(name: str, request) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    stand.double.looks = -1
    text = refused(stand)
    assert "READY: not within 0.4 s; last seen: BUILDING" in text


def test_checks_that_never_end_have_a_deadline(production: VercelStand) -> None:
    production.double.becomes = {"readyState": "READY", "checksState": "running"}
    assert "last seen: READY STAGED running" in refused(production)


def test_a_promotion_that_never_ends_has_a_deadline(production: VercelStand) -> None:
    production.double.instead["POST", "/dpl_000000000000000000000002"] = Told(202, raw=b"")
    text = refused(production)
    assert "chat.example served by dpl_" in text
    assert "not within 0.4 s; last seen: READY STAGED" in text
    assert len(production.calls()) == 3
    del production.double.instead["POST", "/dpl_000000000000000000000002"]
    production.deploy()
    assert production.served == production.release
    assert len(production.calls()) == 3, "it was not built again"


def test_a_promotion_that_does_not_reach_the_domain_is_no_success(production: VercelStand) -> None:
    production.double.domains[0]["name"] = "elsewhere.example"
    production.provider.settings = production.provider.settings.model_copy(update={"domain": None})
    text = refused(production)
    assert "last seen: READY PROMOTED" in text


@ANY
def test_a_domain_that_could_not_be_assigned_is_named(name: str, request) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    stand.double.alias_error = {"code": "cert_missing", "message": "no certificate"}
    text = refused(stand)
    assert f"{stand.host} was not assigned: cert_missing: no certificate" in text


def test_a_promotion_that_fails_at_vercel_is_named(production: VercelStand) -> None:
    production.double.job_fails = True
    assert "Vercel could not lead chat.example to it" in refused(production)


# --- the way back ------------------------------------------------------------------------------------


@ANY
def test_a_first_deployment_has_nothing_to_go_back_to(name: str, request) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    stand.double.deployments.clear()
    stand.double.hosts.clear()
    stand.deploy()
    for check in (rollback.web_reverted, rollback.web_taken_back):
        evidence = check(stand.stack)
        assert evidence.verdict is Verdict.REFUTED
        assert evidence.findings[0].observed == "none is kept"
    assert stand.served == stand.release


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"isRollbackCandidate": False}, "no candidate"), ({"readyState": "DELETED"}, "it is DELETED")],
)
def test_a_previous_deployment_that_cannot_serve_is_named(production: VercelStand, changes, said) -> None:
    production.deploy()
    [first, *_] = production.double.deployments
    production.double.deployments[first].update(changes)
    evidence = rollback.web_reverted(production.stack)
    assert evidence.verdict is Verdict.REFUTED
    assert said in evidence.findings[0].observed
    assert evidence.findings[0].where.endswith(f"/v13/deployments/{first}")


def test_a_way_back_that_leads_nowhere_is_seen(preview: VercelStand, monkeypatch) -> None:
    """Vercel says that the domain leads back; people see no difference."""
    monkeypatch.setattr(rollback, "_INSTANT_SECONDS", 0.2)
    preview.deploy()
    release = preview.release
    monkeypatch.setattr(preview.double, "release_at", lambda host: release)
    evidence = rollback.web_taken_back(preview.stack)
    assert evidence.verdict is Verdict.REFUTED
    [finding] = evidence.findings
    assert finding.expected.startswith(OLD[vercel.RELEASE])
    assert finding.observed == release


def test_a_way_back_that_vercel_refuses_is_no_pass(production: VercelStand) -> None:
    production.deploy()
    told = Told(422, {"error": {"code": "gone", "message": "it is gone"}})
    [first, *_] = production.double.deployments
    production.double.instead["POST", f"/rollback/{first}"] = told
    evidence = rollback.web_taken_back(production.stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert "it is gone" in evidence.summary
    assert production.served == production.release


def test_an_outage_of_the_api_is_not_a_finding(production: VercelStand) -> None:
    production.double.instead["GET", "/v9/projects/chat-web"] = Told(429, {}, {"retry-after": "9"})
    evidence = rollback.web_reverted(production.stack)
    assert evidence.verdict is Verdict.UNREACHABLE
    assert "asks to wait 9 s" in evidence.summary


def test_the_deadlines_are_patient_where_nobody_shortens_them() -> None:
    assert vercel_serving._PAUSE >= 1, "Vercel limits how often it may be asked"
