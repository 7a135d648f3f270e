"""Secrets that checks, steps and providers let slip: in no file and on no screen, in no encoding."""

from __future__ import annotations

import base64
import html
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from harness import report
from tests.plugin.miniature_project import SECONDS, Miniature

PLAIN = "sentinel-7Yq2vT9wLkXz0"
AWKWARD = "sen\"tinel\\<é&> /+%='8Kd"
SECRETS = (PLAIN, AWKWARD)

LEAKS = """
import base64
import json
import logging
import os
import sys
from urllib.parse import quote
from harness.checks.base import check
from harness.evidence import Finding, holds, refuted


def forms(secret):
    coded = base64.b64encode(f"user:{secret}".encode()).decode()
    forms = [secret, quote(secret, safe=''), coded, repr(secret), json.dumps(secret), secret.encode().hex()]
    return " ".join(forms)


def leak(stack):
    secrets = [stack.secret(f"env:SENTINEL_{number}").reveal() for number in range(2)]
    text = " | ".join(map(forms, secrets))
    print("out", text)
    print("err", text, file=sys.stderr)
    os.write(1, f"raw {text}\\n".encode())
    logging.getLogger("leak").error("log %s", text)
    return text


@check("leak.holds", component="gateway")
def leak_holds(stack):
    text = leak(stack)
    return holds(f"summary {text}", text=text, deep=[{text: {"a": (text,)}}])


@check("leak.refuted", component="gateway")
def leak_refuted(stack):
    text = leak(stack)
    return refuted(f"summary {text}", Finding(text, text, text, text), text=text)


@check("leak.raises", component="gateway")
def leak_raises(stack):
    raise ValueError(leak(stack))


@check("leak.exits", component="gateway")
def leak_exits(stack):
    sys.exit(leak(stack))


@check("leak.unreachable", component="gateway")
def leak_unreachable(stack):
    raise ConnectionError(leak(stack))


@check("leak.parameter", component="gateway")
def leak_parameter(stack, value):
    return holds("asked")


@then("it leaks and holds")
def _(ask):
    ask(leak_holds)


@then("it leaks and is refuted")
def _(ask):
    ask(leak_refuted)


@then("it leaks and raises")
def _(ask):
    ask(leak_raises)


@then("it leaks and exits")
def _(ask):
    ask(leak_exits)


@then("it leaks and nothing answers")
def _(ask):
    ask(leak_unreachable)


@then("the step itself leaks")
def _(ask):
    ask(leak_holds)
    secret = " ".join(os.environ[f"SENTINEL_{number}"] for number in range(2))
    print("step", secret)
    if "Recorder" not in repr(ask):
        raise RuntimeError(f"step {secret} {json.dumps(secret)}")
"""


def encoded(secret: str) -> Iterator[str]:
    """Every form that is searched for."""
    raw = secret.encode()
    yield from (
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        raw.hex(),
        repr(secret)[1:-1],
    )
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from (
        html.escape(secret),
        html.escape(secret, quote=False),
        json.dumps(html.escape(secret))[1:-1],
    )
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):  # the characters that are its own at each alignment
            coded = encode(b"\0" * shift + raw).decode().rstrip("=")
            yield coded[(0, 2, 3)[shift] : len(coded) - (1 if (len(raw) + shift) % 3 else 0)]


def found(text: str) -> list[str]:
    """The forms of the sentinels in ``text``; base64 inside it is looked into as well."""
    return [form for secret in SECRETS for form in encoded(secret) if form in text]


def outputs(project: Miniature) -> list[Path]:
    written = (project.root / ".harness").rglob("*")
    return [path for path in written if path.is_file()] + [project.root / "output.txt"]


@pytest.fixture
def leaking(project: Miniature) -> Miniature:
    project.steps(LEAKS)
    thens = ("leaks and holds", "leaks and is refuted", "leaks and raises", "leaks and exits")
    thens += ("leaks and nothing answers",)
    scenarios = [
        f"  Scenario: S{n}\n    Given the gateway is deployed\n    Then it {t}\n"
        for n, t in enumerate(thens)
    ]
    scenarios.append(
        "  Scenario: Step\n    Given the gateway is deployed\n    Then the step itself leaks\n"
    )
    project.feature("Feature: Extra\n\n" + "\n".join(scenarios))
    project.edit(
        "environments/local.yaml", "metrics_token: local:metrics_token", "metrics_token: env:SENTINEL_0"
    )
    project.edit(
        "environments/local.yaml",
        "database_password: local:gateway_database_password",
        "database_password: env:SENTINEL_1",
    )
    return project


ENV = {"SENTINEL_0": PLAIN, "SENTINEL_1": AWKWARD}


@pytest.mark.parametrize(
    "arguments", [(), ("-s",), ("-v", "-rA", "-l", "-o", "junit_logging=all", "--showlocals")]
)
def test_no_output_shows_a_secret_in_any_encoding(leaking: Miniature, arguments: tuple[str, ...]) -> None:
    outcome = leaking.pytest(*arguments, **ENV)
    outcome.is_no_go("[redacted]")
    argv = [sys.executable, "-m", "harness.report", "--root", str(leaking.root)]
    subprocess.run(argv, capture_output=True, timeout=SECONDS, check=False)
    seen = outputs(leaking)
    names = {path.name for path in seen}
    assert {"junit.xml", "index.html", "last-run.json", "output.txt", "environment.properties"} <= names
    if (report.ROOT / "tools" / "node_modules" / ".bin" / "allure").exists():
        assert "allure.html" in names
    told = [path for path in seen if "[redacted]" in path.read_text(errors="replace")]
    assert len(told) > 8, "nothing was leaked: the test tests nothing"
    leaks = {path.name: found(path.read_text(errors="replace")) for path in seen}
    assert not {name: forms for name, forms in leaks.items() if forms}


def test_no_output_shows_what_a_deployment_lets_slip(leaking: Miniature) -> None:
    both = f"psql: password {PLAIN} {AWKWARD} {quote(AWKWARD, safe='')} refused"
    outcome = leaking.pytest(MINI_BROKEN="supabase", MINI_ERROR=both, **ENV)
    outcome.is_no_go("psql: password [redacted] [redacted] [redacted] refused")
    leaks = {path.name: found(path.read_text(errors="replace")) for path in outputs(leaking)}
    assert not {name: forms for name, forms in leaks.items() if forms}


def test_an_error_in_collection_shows_no_secret(leaking: Miniature) -> None:
    leaking.write("features/test_broken.py", "import os\nraise RuntimeError(os.environ['SENTINEL_0'])\n")
    outcome = leaking.pytest(**ENV)
    outcome.is_no_go("test_broken.py")
    leaks = {path.name: found(path.read_text(errors="replace")) for path in outputs(leaking)}
    assert not {name: forms for name, forms in leaks.items() if forms}


def test_the_search_finds_what_it_looks_for() -> None:
    for form in (PLAIN, quote(AWKWARD), json.dumps(AWKWARD), html.escape(AWKWARD), PLAIN.encode().hex()):
        assert found(f"before {form} after"), form
    for text in ("a", "ab", "abc"):
        assert found(base64.b64encode(f"{text}{PLAIN}".encode()).decode())
    assert not found("nothing [redacted] here")


def test_signed_evidence_shows_no_secret(leaking: Miniature) -> None:
    """Its payload is base64: what is in there is searched as text."""
    leaking.pytest(MINI_BROKEN="web", MINI_ERROR=f"{PLAIN} {AWKWARD}", **ENV)
    [path] = (leaking.root / ".harness" / "evidence" / "runs" / "local").glob("*.intoto.json")
    payload = base64.b64decode(json.loads(path.read_text())["payload"]).decode()
    assert "FAILED" in payload
    assert not found(payload)
