"""The web app at Vercel: what is planned, done, done again, and done for an older release.

Vercel is a double on loopback (tests/vercel_double.py), its CLI builds nothing (tests/fake_vercel.py);
the real CLI is tried below where `make vercel` has installed it.
"""

# ruff: noqa: F811 - fixtures are imported
from __future__ import annotations

import stat

import pytest

from harness.checks import rollback, web
from harness.evidence import Verdict
from harness.providers import web_build
from harness.providers.cloud import vercel, vercel_cli, vercel_serving
from harness.providers.cloud.vercel_cli import VercelCli
from harness.redaction import encodings
from tests.pg_fixture import ROOT
from tests.vercel_stand import (  # noqa: F401
    OLD,
    PROBE,
    TOKEN,
    VercelStand,
    preview,
    production,
)

BOTH = pytest.mark.parametrize("name", ["production", "preview"])


@BOTH
def test_what_is_planned_is_done_and_a_second_time_nothing(name: str, request) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    planned = stand.provider.plan()
    assert planned.changes == (
        f"build {stand.release}",
        f"upload {stand.release}",
        f"lead {stand.host} to {stand.release} (now: web@0123456789ab)",
    )
    assert stand.served == OLD[vercel.RELEASE], "a plan changes nothing"
    assert [change.partition(" web@")[0] for change in stand.deploy()] == [
        "built and uploaded",
        f"led {stand.host} to",
    ]
    assert stand.served == stand.release
    assert web.serves(stand.stack).verdict is Verdict.HOLDS
    assert stand.provider.plan().unchanged
    asked = len(stand.double.sent("POST"))
    assert stand.deploy() == ()
    assert len(stand.double.sent("POST")) == asked
    assert len(stand.calls()) == 3


def test_production_is_staged_then_promoted_and_never_built_again(production: VercelStand) -> None:
    production.deploy()
    [created] = production.double.sent("POST", "/v13/deployments")
    assert created.json()["autoAssignCustomDomains"] is False
    assert created.json()["target"] == "production"
    assert len(production.double.sent("POST", "/promote/")) == 1
    assert [call["argv"][0] for call in production.calls()] == ["pull", "build", "deploy"]


def test_a_preview_gets_its_domain_by_an_alias(preview: VercelStand) -> None:
    preview.deploy()
    [created] = preview.double.sent("POST", "/v13/deployments")
    assert "target" not in created.json()
    assert len(preview.double.sent("POST", "/aliases")) == 1
    assert not preview.double.sent("POST", "/promote/")


def test_the_deployment_says_which_release_it_is(production: VercelStand) -> None:
    production.deploy()
    [created] = production.double.sent("POST", "/v13/deployments")
    digest = production.provider.plan().digest
    assert created.json()["meta"] == {"harnessRelease": production.release, "harnessDigest": digest}


def test_what_is_compiled_in_is_what_is_declared(preview: VercelStand) -> None:
    preview.double.variable("NEXT_PUBLIC_SITE_URL", "https://elsewhere.example", "plain", "preview")
    preview.deploy()
    [build] = [call for call in preview.calls() if call["argv"][0] == "build"]
    for name, value in web_build.declared(preview.stack).items():
        assert build["environment"][name] == value


def test_variables_that_are_missing_or_wrong_are_set_before_anything_is_uploaded(
    production: VercelStand,
) -> None:
    production.double.variables.clear()
    production.double.variable("GATEWAY_URL", "https://other.example", "plain", "production")
    changes = production.provider.plan().changes
    assert changes[:2] == (
        "set GATEWAY_URL (another value for production)",
        "set WEB_PROBE_TOKEN (there is none for production)",
    )
    production.deploy()
    kept = {one["key"]: one for one in production.double.variables}
    assert kept["GATEWAY_URL"]["value"] == production.stack.environment.gateway.url
    assert kept["WEB_PROBE_TOKEN"] == {
        "key": "WEB_PROBE_TOKEN",
        "value": PROBE,
        "type": "sensitive",
        "target": ["production"],
    }
    posts = [asked.path for asked in production.double.sent("POST")]
    assert posts.index("/v10/projects/chat-web/env") < posts.index("/v13/deployments")


def test_variables_of_other_targets_and_branches_are_left_alone(preview: VercelStand) -> None:
    preview.double.variable("WEB_PROBE_TOKEN", "that-of-production", "sensitive", "production")
    preview.double.variables.append({**preview.double.variables[0], "gitBranch": "mine", "value": "other"})
    before = list(preview.double.variables)
    preview.deploy()
    assert preview.double.variables == before


def test_a_changed_secret_makes_a_deployment_of_its_own(
    production: VercelStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = production.provider.plan().digest
    monkeypatch.setattr(production.stack.secrets, "_values", {})
    monkeypatch.setenv("PRODUCTION_WEB_PROBE_TOKEN", "another-probe-token-0123456789")
    assert production.provider.plan().digest != before


def test_an_interrupted_deploy_goes_on_where_it_stopped(production: VercelStand) -> None:
    digest = production.provider.plan().digest
    meta = {vercel.RELEASE: production.release, vercel.DIGEST: digest}
    state = {"readyState": "BUILDING", "_looks": 2, "readySubstate": "STAGED"}
    staged = production.double.deployed("production", meta, **state)
    assert production.provider.plan().changes == (
        f"lead {production.host} to {production.release} (now: web@0123456789ab)",
    )
    assert production.deploy() == (f"led {production.host} to {production.release} ({staged})",)
    assert not production.calls()


def test_a_release_that_served_before_is_rolled_back_to(production: VercelStand) -> None:
    """What `--rollback` does: an older release is deployed again."""
    production.deploy()
    newer = {vercel.RELEASE: "web@fedcba987654", vercel.DIGEST: "of a newer release"}
    production.double.served(production.host, "production", newer)
    count = len(production.calls())
    assert production.deploy()[0].startswith(f"led {production.host} to {production.release}")
    assert production.served == production.release
    assert len(production.double.sent("POST", "/rollback/")) == 1
    assert len(production.calls()) == count


def test_a_release_beyond_instant_rollback_is_built_again(production: VercelStand) -> None:
    meta = {vercel.RELEASE: production.release, vercel.DIGEST: production.provider.plan().digest}
    changes = {"readySubstate": "PROMOTED", "isRollbackCandidate": False}
    production.double.deployed("production", meta, **changes)
    assert f"build {production.release}" in production.provider.plan().changes


@BOTH
def test_the_way_back_is_kept_and_carried_out(name: str, request, monkeypatch) -> None:
    stand: VercelStand = request.getfixturevalue(name)
    monkeypatch.setattr(vercel_serving, "_PAUSE", 0.02)
    stand.deploy()
    kept = rollback.web_reverted(stand.stack)
    assert kept.verdict is Verdict.HOLDS, kept
    assert OLD[vercel.RELEASE] in kept.summary
    carried_out = rollback.web_taken_back(stand.stack)
    assert carried_out.verdict is Verdict.HOLDS, carried_out
    assert stand.served == stand.release
    asked = "/rollback/" if name == "production" else "/aliases"
    assert len(stand.double.sent("POST", asked)) >= 2


def test_preparing_builds_and_touches_nothing_at_vercel(production: VercelStand) -> None:
    production.provider.prepare(lambda _: None)
    assert [call["argv"][0] for call in production.calls()] == ["pull", "build"]
    assert not production.double.sent("POST")
    production.deploy()
    assert [call["argv"][0] for call in production.calls()] == ["pull", "build", "deploy"]


# --- secrets -----------------------------------------------------------------------------------------


def test_secrets_appear_nowhere_but_where_they_must(production: VercelStand, capfd) -> None:
    production.double.variables.clear()
    plan, deployment = production.provider.plan(), production.provider.deploy(lambda _: None)
    calls = production.calls()
    written = {
        str(path): path.read_bytes().decode(errors="replace")
        for path in production.stack.state.rglob("*")
        if path.is_file() and "calls.jsonl" not in path.name
    }
    shown = [repr(plan), repr(deployment), *capfd.readouterr(), *[str(call["argv"]) for call in calls]]
    meta = [str(one["meta"]) for one in production.double.deployments.values()]
    for secret in (TOKEN, PROBE):
        for form in encodings(secret):
            assert not [text for text in (*shown, *meta) if form in text]
            assert not [path for path, text in written.items() if form in text]
    assert all(TOKEN not in str(asked.query) + asked.path for asked, _ in production.double.pairs)


def test_the_token_is_not_given_to_what_a_build_runs(production: VercelStand) -> None:
    """A build runs the code of packages; the CLI needs no token for it."""
    production.deploy()
    holders = {c["argv"][0]: "VERCEL_TOKEN" in c["environment"] for c in production.calls()}
    assert holders == {"pull": True, "build": False, "deploy": True}


def test_what_pull_fetched_is_removed_and_was_never_for_others(production: VercelStand) -> None:
    production.deploy()
    [folder] = (production.stack.state / "web").iterdir()
    assert not list((folder / ".vercel").glob(".env*"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# --- the command line --------------------------------------------------------------------------------


def test_the_arguments_are_those_of_the_prebuilt_flow() -> None:
    assert vercel_cli.pull("production") == ["pull", "--yes", "--environment=production"]
    assert vercel_cli.build("production") == ["build", "--yes", "--target=production"]
    head = ["deploy", "--prebuilt", "--prod", "--skip-domain", "--yes", "--no-wait", "--format=json"]
    assert vercel_cli.deploy("production", {"a": "b"}) == [*head, "--meta", "a=b"]
    assert vercel_cli.deploy("preview", {}) == [part for part in head if part not in head[2:4]]


REAL = ROOT / "tools" / "vercel" / "node_modules" / ".bin" / "vercel"


@pytest.mark.skipif(not REAL.exists(), reason="the Vercel CLI is not installed: make vercel")
@BOTH
def test_the_real_cli_pulls_builds_and_uploads(name: str, request, monkeypatch) -> None:
    """A page instead of the web app, which would take a minute; the rest is real, but for Vercel."""
    stand: VercelStand = request.getfixturevalue(name)
    monkeypatch.setattr(VercelCli, "executable", REAL)
    monkeypatch.setattr(vercel.VercelBuild, "_copy", _a_page)
    stand.deploy()
    assert stand.served == stand.release
    assert b"<p>a page</p>" in stand.double.uploaded
    assert not [path for path in stand.stack.state.rglob("*") if path.is_file() and _holds(path)]


def _a_page(build, web) -> None:
    build.directory.mkdir(parents=True, mode=0o700)
    (build.directory / "index.html").write_text("<p>a page</p>")


def _holds(path) -> bool:
    text = path.read_bytes().decode(errors="replace")
    return any(form in text for secret in (TOKEN, PROBE) for form in encodings(secret))
