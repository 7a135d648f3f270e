"""Negative controls of the web app's checks: break the real build, server or its surroundings, and look."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checks import web, web_bytes, web_config, web_flow
from harness.checks.base import Check
from harness.evidence import Evidence, Verdict
from harness.providers import web_build
from harness.providers.local.next_build import Build, make_build
from harness.providers.local.node import find_node
from harness.stack import Stack
from tests.pg_fixture import free_port
from tests.web_data_api import data_api
from tests.web_gateway import Behaviour, stand_in
from tests.web_stack import WebStand, damaged, rewrite, served

STEADY = (
    web.serves,
    web.hardened,
    web.signed_out,
    web_config.variables,
    web_config.no_secret_served,
    web_config.callback_urls,
    web_flow.reaches_gateway,
    web_flow.streams,
    web_flow.errors_reported,
)


def refuted_by(stack: Stack, *culprits: Check) -> list[Evidence]:
    """Ask everything: ``culprits`` refute, and everything else holds."""
    asked = {check: check(stack) for check in STEADY}
    verdicts = {check.name: str(evidence.verdict) for check, evidence in asked.items()}
    expected = {check.name: "refuted" if check in culprits else "holds" for check in STEADY}
    assert verdicts == expected, {check.name: evidence.summary for check, evidence in asked.items()}
    return [asked[check] for check in culprits]


def said(*evidence: Evidence) -> str:
    return "\n".join(str(finding) for one in evidence for finding in one.findings)


@pytest.fixture(autouse=True)
def healed(web_stand: WebStand) -> Iterator[None]:
    """Whatever a test breaks, afterwards the untouched web app serves again."""
    yield
    assert web.serves(web_stand.stack).verdict is Verdict.HOLDS


def test_the_right_web_app_passes_every_check(web_stand: WebStand) -> None:
    refuted_by(web_stand.stack)


def test_a_second_deploy_changes_nothing(web_stand: WebStand) -> None:
    pid = web_stand.processes.pid("web")
    assert web_stand.provider.plan().unchanged
    assert not web_stand.provider.deploy(lambda _: None).changed
    assert web_stand.processes.pid("web") == pid


def test_a_stopped_web_app_is_unreachable(web_stand: WebStand) -> None:
    with web_stand.processes.stopped("web"):
        assert {check(web_stand.stack).verdict for check in STEADY} == {Verdict.UNREACHABLE}


# --- what is served ------------------------------------------------------------------------------


def test_another_release_or_a_development_build_is_not_this_one(web_stand: WebStand) -> None:
    release = web_build.release(web_stand.stack)
    with damaged(web_stand, rewrite(".next", release, "web@0123456789ab")) as stack:
        serves, variables, _ = refuted_by(stack, web.serves, web_config.variables, web_flow.errors_reported)
    assert "release web@0123456789ab" in said(serves)
    assert "NEXT_PUBLIC_RELEASE=web@0123456789ab" in said(variables)
    with damaged(web_stand, rewrite(".next/server", 'mode:"production"', 'mode:"development"')) as stack:
        (serves,) = refuted_by(stack, web.serves)
    assert "mode development" in said(serves)


def test_a_variable_with_another_value_is_named_with_its_script(web_stand: WebStand) -> None:
    """A real build for another project, and one in which a variable was forgotten."""
    inlined = web_build.declared(web_stand.stack) | {"NEXT_PUBLIC_SITE_URL": "https://chat.example.org"}
    del inlined["NEXT_PUBLIC_AUTH"]
    build = Build(web_stand.scratch / "wrong")
    log = web_stand.scratch / "wrong.log"
    make_build(
        web_stand.stack.root / "web", build, find_node("web"), inlined, log=log, progress=lambda _: None
    )
    with served(web_stand, build.directory) as stack:
        (variables,) = refuted_by(stack, web_config.variables)
    text = said(variables)
    assert "NEXT_PUBLIC_SITE_URL=https://chat.example.org" in text
    assert "NEXT_PUBLIC_AUTH=(undefined)" in text
    assert "/_next/static/chunks/" in text
    assert "NEXT_PUBLIC_SUPABASE_URL" not in text


def test_an_undeclared_variable_is_named(web_stand: WebStand) -> None:
    change = rewrite(".next/static", "NEXT_PUBLIC_AUTH:", 'NEXT_PUBLIC_DEBUG:"1",NEXT_PUBLIC_AUTH:')
    with damaged(web_stand, change) as stack:
        (variables,) = refuted_by(stack, web_config.variables)
    assert "NEXT_PUBLIC_DEBUG is compiled in" in said(variables)


def test_a_planted_secret_is_found_in_any_encoding(web_stand: WebStand) -> None:
    stack = web_stand.stack
    jwt_secret = stack.secret(stack.environment.supabase.jwt_secret).reveal()
    api_key = stack.secret(stack.environment.instant.api_key).reveal()
    other = base64.urlsafe_b64encode(json.dumps({"role": "service_role"}).encode()).decode().rstrip("=")

    def plant(build: Path) -> None:
        (build / "public/robots.txt").write_text(f"# {jwt_secret}\n")
        first, second, third = sorted((build / ".next/static/chunks").glob("*.js"))[:3]
        with first.open("a") as script:
            script.write(f"\n//{base64.b64encode(f'key={api_key};'.encode()).decode()}")
        with second.open("a") as script:
            script.write(f"\n//eyJhbGciOiJIUzI1NiJ9.{other}.c2lnbmF0dXJl")
        Path(f"{third}.map").write_text(
            '{"sourcesContent": ["postgresql://gateway:hunter22@db:5432/postgres"]}'
        )

    with damaged(web_stand, plant) as broken:
        (secrets,) = refuted_by(broken, web_config.no_secret_served)
    text = said(secrets)
    assert "supabase.jwt_secret (plain)" in text
    assert "/robots.txt" in text
    assert "instant.api_key (encoded)" in text
    assert "a token with the role service_role" in text
    assert "a database address with a password" in text
    assert ".js.map" in text
    assert jwt_secret not in text
    assert api_key not in text


def test_a_secret_in_a_file_that_no_page_mentions_is_found(web_stand: WebStand, tmp_path: Path) -> None:
    name = "public/debug/my notes.txt"
    secret = web_stand.stack.secret(web_stand.stack.environment.instant.api_key).reveal()

    def plant(root: Path) -> None:
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(f"key: {secret}")

    plant(tmp_path / "web")
    with damaged(web_stand, plant) as stack:
        evidence = web_config.no_secret_served(replace(stack, root=tmp_path))
    assert evidence.verdict is Verdict.REFUTED
    assert "/debug/my%20notes.txt" in said(evidence)
    assert "instant.api_key (plain)" in said(evidence)


def test_more_files_than_can_be_read_are_no_pass(
    web_stand: WebStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_bytes, "_MOST", 8)
    evidence = web_config.no_secret_served(web_stand.stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert "the web app serves more than 8 files" in evidence.summary


def test_a_served_environment_file_is_found(web_stand: WebStand) -> None:
    with damaged(web_stand, lambda build: (build / "public/.env").write_text("A=1\n") and None) as stack:
        (secrets,) = refuted_by(stack, web_config.no_secret_served)
    assert "/.env" in said(secrets)


def test_a_weakened_policy_is_named(web_stand: WebStand) -> None:
    change = rewrite(".next/server", "frame-ancestors 'none'", "frame-ancestors *")
    with damaged(web_stand, change) as stack:
        (hardened,) = refuted_by(stack, web.hardened)
    assert "frame-ancestors is not 'none'" in said(hardened)
    foreign = "script-src-elem cdn.example.org data:; object-src *"
    with damaged(web_stand, rewrite(".next/server", "object-src 'none'", foreign)) as stack:
        (hardened,) = refuted_by(stack, web.hardened)
    for wrong in (
        "script-src-elem allows cdn.example.org",
        "script-src-elem allows data:",
        "object-src is *",
    ):
        assert wrong in said(hardened)
    with damaged(web_stand, rewrite(".next/server", "base-uri 'none'", "img-src *")) as stack:
        (hardened,) = refuted_by(stack, web.hardened)
    assert "base-uri is not there" in said(hardened)
    manifest = "functions-config-manifest.json"
    change = rewrite(".next/server", "(?!api", "(?!auth\\\\/|api", suffix=manifest)
    with damaged(web_stand, change) as stack:
        (hardened,) = refuted_by(stack, web.hardened)
    assert {finding.where.split()[1] for finding in hardened.findings} == {
        f"{stack.environment.web.url}/auth/callback"
    }
    change = rewrite(".next", '"nosniff"', '"none"', suffix="routes-manifest.json")
    with damaged(web_stand, change) as stack:
        (hardened,) = refuted_by(stack, web.hardened)
    assert "x-content-type-options" in said(hardened)


# --- sign-in addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "culprit"),
    [
        ('site_url = "http://localhost', 'site_url = "http://old.example.org', "(site_url)"),
        ("/auth/callback", "/login", "(additional_redirect_urls)"),
        ("http://127.0.0.1:", "https://evil.example.org:", "https://evil.example.org"),
    ],
)
def test_wrong_sign_in_addresses_are_named(
    web_stand: WebStand, tmp_path: Path, old: str, new: str, culprit: str
) -> None:
    config = (web_stand.stack.root / "supabase/config.toml").read_text()
    assert old in config
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase/config.toml").write_text(config.replace(old, new))
    (tmp_path / "web").symlink_to(web_stand.stack.root / "web")
    (evidence,) = refuted_by(replace(web_stand.stack, root=tmp_path), web_config.callback_urls)
    assert culprit in said(evidence)


def test_a_callback_page_that_is_gone_is_noticed(web_stand: WebStand) -> None:
    change = rewrite(".next/server", 'data-page":"auth-callback"', 'data-page":"other"')
    with damaged(web_stand, change) as stack:
        (evidence,) = refuted_by(stack, web_config.callback_urls)
    assert "/auth/callback" in said(evidence)


# --- the way to the gateway ----------------------------------------------------------------------


def test_a_request_that_arrives_at_another_gateway_is_noticed(web_stand: WebStand) -> None:
    with stand_in(Behaviour(environment="staging")) as other:
        with served(web_stand, web_stand.build, GATEWAY_URL=other.url) as stack:
            (evidence,) = refuted_by(stack, web_flow.reaches_gateway)
        assert len(other.seen) >= 1
    text = said(evidence)
    assert "x-gateway-environment: staging" in text
    assert other.url.removeprefix("http://") in text
    assert "no line with this request id" in text


def test_a_request_that_leaves_no_trace_in_the_gateways_log_is_noticed(web_stand: WebStand) -> None:
    """The same answer from the right address, but written by something that is not the gateway."""
    web_stand.gateway.behaviour.silent = True
    (evidence,) = refuted_by(web_stand.stack, web_flow.reaches_gateway)
    assert "log of the gateway" in said(evidence)


def test_a_gateway_that_is_down_is_noticed(web_stand: WebStand) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with served(web_stand, web_stand.build, GATEWAY_URL=dead) as stack:
        wrong = refuted_by(stack, web_flow.reaches_gateway, web_flow.streams, web.signed_out)
    assert "gateway_unreachable" in said(*wrong)


def test_an_answer_that_comes_all_at_once_or_cut_is_not_a_stream(web_stand: WebStand) -> None:
    web_stand.gateway.behaviour.buffered = True
    (evidence,) = refuted_by(web_stand.stack, web_flow.streams)
    assert "in 1 pieces" in said(evidence)
    web_stand.gateway.behaviour = Behaviour(cut=True)
    (evidence,) = refuted_by(web_stand.stack, web_flow.streams)
    assert "ends with [DONE]" in said(evidence)


def test_a_gateway_that_takes_anyone_is_noticed(web_stand: WebStand) -> None:
    web_stand.gateway.behaviour.anyone = True
    (evidence,) = refuted_by(web_stand.stack, web.signed_out)
    assert "with a token that nobody issued" in said(evidence)


# --- errors --------------------------------------------------------------------------------------


def test_errors_that_go_nowhere_are_noticed(web_stand: WebStand) -> None:
    with web_stand.processes.stopped("errors"):
        (evidence,) = refuted_by(web_stand.stack, web_flow.errors_reported)
    assert "nothing takes errors" in said(evidence)


def test_an_error_that_is_not_sent_is_noticed(web_stand: WebStand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_flow, "_EVENT_SECONDS", 2.0)
    elsewhere = f"http://public@127.0.0.1:{free_port()}/1"
    change = rewrite(".next/server", web_build.dsn(web_stand.stack), elsewhere)
    with damaged(web_stand, change) as stack:
        evidence = web_flow.errors_reported(stack)
    assert "no event with the marker" in said(evidence)


def test_browsers_that_report_elsewhere_are_noticed(web_stand: WebStand) -> None:
    change = rewrite(".next/static", web_build.dsn(web_stand.stack), "https://k@errors.example.org/9")
    with damaged(web_stand, change) as stack:
        variables, errors = refuted_by(stack, web_config.variables, web_flow.errors_reported)
    assert "NEXT_PUBLIC_SENTRY_DSN" in said(variables)
    assert "errors.example.org" in said(errors)


def test_an_error_event_that_holds_a_token_is_noticed(web_stand: WebStand) -> None:
    """The scrubbing is taken out, and the error's message quotes the caller's token."""

    def change(build: Path) -> None:
        rewrite(".next/server", "let{beforeSend:", "let{beforeNothing:")(build)
        route = next(
            path
            for path in (build / ".next/server").rglob("*.js")
            if "deliberate error" in path.read_text()
        )
        argument = route.read_text().split("x-probe-token")[0].rpartition(".headers.get(")[0][-1]
        text = route.read_text()
        quoted = f'deliberate error ${{{argument}.headers.get("authorization")}} ${{'
        assert "deliberate error ${" in text
        route.write_text(text.replace("deliberate error ${", quoted))

    with damaged(web_stand, change) as stack:
        (evidence,) = refuted_by(stack, web_flow.errors_reported)
    assert "the caller's token" in said(evidence)


def test_a_probe_token_that_does_not_open_is_noticed(web_stand: WebStand) -> None:
    with served(web_stand, web_stand.build, WEB_PROBE_TOKEN="another") as stack:
        (evidence,) = refuted_by(stack, web_flow.errors_reported)
    assert "404" in said(evidence)


# --- the Data API, as browsers meet it -----------------------------------------------------------


def test_a_data_api_that_browsers_may_not_call_is_noticed(web_stand: WebStand) -> None:
    origin = web_stand.stack.environment.web.url
    with data_api(web_stand, origin, []) as stack:
        assert web.browser_may_call_data_api(stack).verdict is Verdict.HOLDS
    with data_api(web_stand, "https://elsewhere.example.org", []) as stack:
        assert "https://elsewhere.example.org" in said(web.browser_may_call_data_api(stack))
    with data_api(web_stand, "*", [{"id": "of-another-person"}]) as stack:
        assert "as a new user" in said(web.browser_may_call_data_api(stack))
