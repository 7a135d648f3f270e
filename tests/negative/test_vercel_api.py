"""Negative controls of Vercel's API and of its CLI: refusals, outages, broken answers; each is named."""

# ruff: noqa: F811 - fixtures are imported
from __future__ import annotations

import httpx
import pytest

from harness.errors import DeployError
from harness.providers.cloud.vercel_cli import VercelCli
from tests.vendor_server import Told
from tests.vercel_stand import PROBE, TOKEN, VercelStand, production, refused  # noqa: F401

# --- the API -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "said", "hint"),
    [
        (Told(401, {"error": {"message": "Not authorized"}}), "HTTP 401", "web.token"),
        (Told(403, {"error": {"message": "Not authorized"}}), "HTTP 403", "web.team"),
        (Told(404, {"error": {"message": "Project not found."}}), "HTTP 404", "web.project"),
        (Told(429, {}, {"retry-after": "30"}), "HTTP 429; asks to wait 30 s", "outage"),
        (Told(502, raw=b"<html>"), "HTTP 502", "outage"),
        (Told(200, raw=b'{"id": "prj_'), "not what this API answers", "what to do"),
        (Told(200, {"id": "prj_1"}), "name: Field required", "what to do"),
        (Told(200, {}, cut=True), "RemoteProtocolError", "outage"),
    ],
)
def test_an_api_that_refuses_or_breaks_is_named(production: VercelStand, told, said, hint) -> None:
    production.double.instead["GET", "/v9/projects/chat-web"] = told
    text = refused(production)
    assert "/v9/projects/chat-web" in text
    assert said in text
    assert hint in text
    with pytest.raises(DeployError, match="web: "):
        production.provider.plan()


def test_an_api_that_hangs_has_a_deadline(production: VercelStand) -> None:
    url = production.provider.settings.management_url
    client = httpx.Client(base_url=url, timeout=0.2, trust_env=False)
    production.stack._clients[url] = client
    production.double.instead["GET", "/v10/projects/chat-web/env"] = Told(hangs=True)
    text = refused(production)
    assert "/v10/projects/chat-web/env: ReadTimeout" in text


def test_an_api_that_nobody_answers_at_is_named(production: VercelStand) -> None:
    settings = production.provider.settings
    production.provider.settings = settings.model_copy(update={"management_url": "http://127.0.0.1:9"})
    assert "http://127.0.0.1:9/v9/projects/chat-web: ConnectError" in refused(production)


def test_being_told_to_wait_while_waiting_is_no_failure(production: VercelStand) -> None:
    busy, asked = Told(429, {}, {"retry-after": "1"}), production.double.answer
    said: list[str] = []

    def sometimes(one):
        if one.path.startswith("/v13/deployments/dpl_") and len(said) < 3:
            said.append(one.path)
            return busy
        return asked(one)

    production.double.answer = sometimes
    production.deploy()
    assert production.served == production.release
    assert len(said) == 3


def test_no_answer_that_repeats_the_token_repeats_it_here(production: VercelStand) -> None:
    told = {"error": {"message": f"the token {TOKEN} is bad; so is {PROBE}"}}
    production.double.instead["GET", "/v9/projects/chat-web"] = Told(401, told)
    assert "[redacted]" in refused(production)


# --- the command line --------------------------------------------------------------------------------


def test_without_the_cli_it_says_how_to_install_it(production: VercelStand, monkeypatch) -> None:
    monkeypatch.setattr(VercelCli, "executable", production.cli.with_name("there-is-none"))
    text = refused(production)
    assert "the Vercel CLI is not installed (tools/vercel)" in text
    assert "make vercel" in text


@pytest.mark.parametrize("command", ["pull", "build", "deploy"])
def test_a_cli_that_fails_is_named_with_its_last_words(production: VercelStand, command: str) -> None:
    production.cli.with_name("fails").write_text(command)
    text = refused(production)
    assert f"vercel {command} failed (1)" in text
    assert "| Error: it does not work" in text
    assert f"web-vercel-{command}.log" in text
    logs = "".join(path.read_text() for path in (production.stack.state / "logs").iterdir())
    assert TOKEN not in logs


def test_a_build_that_failed_is_not_taken_for_one(production: VercelStand) -> None:
    fails = production.cli.with_name("fails")
    fails.write_text("build")
    refused(production)
    fails.unlink()
    production.deploy()
    assert [call["argv"][0] for call in production.calls()].count("build") == 2
