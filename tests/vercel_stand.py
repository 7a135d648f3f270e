"""A web app at the double of Vercel (tests/vercel_double.py): staging's preview, or production."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.environment.loader import load
from harness.errors import DeployError
from harness.identity import LocalIdentities
from harness.providers import web_build
from harness.providers.cloud import vercel, vercel_serving
from harness.providers.cloud.vercel import VercelWeb
from harness.providers.cloud.vercel_cli import VercelCli
from harness.providers.local import node
from harness.redaction import encodings
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.pg_fixture import ROOT
from tests.vendor_server import serving
from tests.vercel_double import Vercel

TOKEN = "vercelTokenThatNobodyMaySee0123456789"  # the CLI takes letters and digits alone
"""With characters that URLs and base64 write otherwise."""
PROBE = "probe+token/that nobody&may=see-9876543210"
_SLOW = functools.cache(vercel._slow)
OLD = {vercel.RELEASE: "web@0123456789ab", vercel.DIGEST: "of the release before"}


@dataclass
class VercelStand:
    """The double, the stack, and the CLI that stands in for the real one."""

    stack: Stack
    provider: VercelWeb
    double: Vercel
    cli: Path

    @property
    def host(self) -> str:
        return self.provider.host

    @property
    def release(self) -> str:
        return web_build.release(self.stack)

    @property
    def served(self) -> str:
        """The release that people meet."""
        return self.double.release_at(self.host)

    def deploy(self) -> tuple[str, ...]:
        return self.provider.deploy(lambda _: None).changes

    def calls(self) -> list[dict[str, Any]]:
        """How the CLI was called."""
        path = self.cli.with_name("calls.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def refused(stand: VercelStand) -> str:
    """What the deployment is refused with; what served before serves still; no secret is in it."""
    with pytest.raises(DeployError) as caught:
        stand.deploy()
    text = str(caught.value)
    assert stand.served in ("", OLD[vercel.RELEASE])
    assert "what to do: " in text
    assert not [form for secret in (TOKEN, PROBE) for form in encodings(secret) if form in text]
    return text


def furnish(double: Vercel, provider: VercelWeb) -> None:
    """A project as it should be, with a release before that serves."""
    target, host = provider.settings.target, provider.host
    double.domain(host, gitBranch=None if target == "production" else "staging")
    double.variable("GATEWAY_URL", provider._stack.environment.gateway.url, "plain", target)
    double.variable("WEB_PROBE_TOKEN", PROBE, "sensitive", target)
    double.served(host, target, OLD)


def site(stack: Stack, double: Vercel, host: str) -> httpx.MockTransport:
    """What people get from the web app's address."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/health":
            return httpx.Response(200, text="<html></html>", headers={"content-type": "text/html"})
        body = {"release": double.release_at(host), "mode": "production"}
        return httpx.Response(200, json={**body, "environment": stack.environment.environment})

    return httpx.MockTransport(answer)


def _secrets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    prefix = name.upper()
    for key, value in {
        "VERCEL_TOKEN": TOKEN,
        "WEB_PROBE_TOKEN": PROBE,
        "SENTRY_DSN": "https://public@errors.chat.example/1",
        "SUPABASE_ANON_KEY": "anon-key-of-the-project",
    }.items():
        monkeypatch.setenv(f"{prefix}_{key}", value)


def _stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    script = folder / "vercel"
    script.write_text(f"#!{sys.executable} -IS\n" + (ROOT / "tests" / "fake_vercel.py").read_text())
    script.chmod(0o755)
    monkeypatch.setattr(VercelCli, "executable", script)
    return script


def stand_of(
    name: str, url: str, double: Vercel, state: Path, monkeypatch: pytest.MonkeyPatch
) -> VercelStand:
    """The web app of the environment ``name`` at ``double``, which answers at ``url``."""
    _secrets(monkeypatch, name)
    environment = load(name, ROOT).environment
    settings = environment.web.model_copy(update={"management_url": url})
    stack = Stack(ROOT, state, environment.model_copy(update={"web": settings}), SecretStore(ROOT, state))
    stack.identities_source = LocalIdentities(stack)
    stack.providers["web"] = provider = VercelWeb(stack)
    client = httpx.Client(base_url=settings.url, transport=site(stack, double, provider.host))
    stack._clients[settings.url] = client
    return VercelStand(stack, provider, double, _stand_in(state / "cli", monkeypatch))


def _made(name: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VercelStand]:
    double, found = Vercel(), node.find_node("web")
    monkeypatch.setattr(vercel, "find_node", lambda component: found)
    monkeypatch.setattr(vercel, "_slow", _SLOW)
    monkeypatch.setattr(vercel_serving, "READY_SECONDS", 0.4)
    monkeypatch.setattr(vercel_serving, "SERVES_SECONDS", 0.4)
    with serving(double) as url:
        stand = stand_of(name, url, double, state, monkeypatch)
        furnish(double, stand.provider)
        yield stand
        stand.stack.close()


@pytest.fixture
def production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VercelStand]:
    """Production: staged, then promoted."""
    yield from _made("production", tmp_path, monkeypatch)


@pytest.fixture
def preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VercelStand]:
    """Staging: a preview with a domain of its own."""
    yield from _made("staging", tmp_path, monkeypatch)
