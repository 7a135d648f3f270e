"""Does the gateway run with the declared settings, and would it refuse those of a developer?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from harness.checks.base import check
from harness.checks.gateway_target import observed_gateway
from harness.errors import HarnessError
from harness.evidence import Evidence, Finding, judge
from harness.providers.gateway_environment import fingerprint, gateway_settings, reveal
from harness.stack import Stack

__all__ = ["defaults_refused", "settings_live", "validate"]

PUBLISHED = (
    "super-secret-jwt-token-with-at-least-32-characters-long",  # the Supabase CLI's, in its documentation
    "your-super-secret-jwt-token-with-at-least-32-characters-long",  # Supabase's docker compose file
    "postgres",
    "your-super-secret-and-long-postgres-password",
    "password",
    "secret",
    "changeme",
    "change-me",
    "test",
    "dev",
    "EMPTY",
    "sk-1234",
    "none",
    "",
)
"""Values that stand in somebody's documentation: no secret can be one of them."""

_SECRETS = ("JWT_SECRET", "METRICS_TOKEN", "INSTANT_KEY", "THINKING_KEY")

_VALIDATE = """
import json, sys
from gateway.settings import SettingsError, load

def problems(environ):
    try:
        load(environ)
    except SettingsError as error:
        return error.problems
    return []

json.dump([problems(environ) for environ in json.load(sys.stdin)], sys.stdout)
"""


@check("gateway.settings.live", component="gateway")
def settings_live(stack: Stack) -> Evidence:
    """The running gateway has exactly the declared settings, and no secret out of a documentation."""
    gateway = observed_gateway(stack)
    declared, live = gateway.declared_settings(), gateway.live_settings()
    where = f"{stack.environment.gateway.url}: its process"
    findings = []
    for name in sorted({*declared, *live}):
        if declared.get(name) != live.get(name):
            expected = f"{name} as declared ({_shown(declared.get(name))})"
            observed = f"{name} is {_shown(live.get(name))}"
            findings.append(Finding(expected, observed, where, "deploy the gateway again"))
    published = {fingerprint(value) for value in PUBLISHED}
    for name in (f"GATEWAY_{word}" for word in _SECRETS):
        if live.get(name) in published:
            observed = f"{name} is a development default that anybody can look up"
            findings.append(Finding(f"{name} of our own", observed, where, "generate it, then deploy"))
    summary = f"{len(live)} variables, each as declared, none a development default"
    return judge(summary, findings, variables=sorted(live))


@check("gateway.settings.defaults", component="gateway")
def defaults_refused(stack: Stack) -> Evidence:
    """Told that it is production, the gateway refuses every development default by name."""
    good = _as_production(stack)
    demanded = [name for name in sorted(good) if not name.startswith("GATEWAY_TIMEOUT_")]  # have safe ones
    cases = {**_defaults(good), **{f"{name} absent": _without(good, name) for name in demanded}}
    answers = validate(stack, [good, *cases.values()])
    where = f"{stack.root / 'gateway'}: its settings"
    findings = []
    if answers[0]:
        remedy = "the declaration lacks what production demands"
        findings.append(Finding("production settings accepted", "; ".join(answers[0]), where, remedy))
    for case, problems in zip(cases, answers[1:], strict=True):
        name = case.split()[0]
        if not any(name in problem for problem in problems):
            observed = "; ".join(problems) or "accepted"
            remedy = "refuse it outside `local` when the process starts"
            findings.append(Finding(f"refused: {case}", observed, f"{where}: {name}", remedy))
    return judge(f"{len(cases)} unsafe settings refused, each by name", findings, cases=sorted(cases))


def validate(stack: Stack, environs: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """What the gateway's own validation says of each of ``environs``; nothing means that it would start.

    Runs the sources under ``stack.root`` in a process of their own; values go over its standard input.

    Raises:
        HarnessError: when it cannot be run.
    """
    done = subprocess.run(
        [sys.executable, "-c", _VALIDATE],
        input=json.dumps(environs),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=stack.root,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise HarnessError(f"the gateway's settings cannot be validated: {''.join(last)}")
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


def _as_production(stack: Stack) -> dict[str, str]:
    """The settings of this environment as they would have to be in production."""
    release = observed_gateway(stack).release
    settings = gateway_settings(stack.environment, stack.secrets, release)
    plain = {name: reveal(value) for name, value in settings.items()}
    address = plain["GATEWAY_DATABASE_URL"].partition("?")[0]
    return {
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": "8000",
        **plain,
        "GATEWAY_ENVIRONMENT": "production",
        "GATEWAY_LOG_LEVEL": "info",
        "GATEWAY_DATABASE_URL": f"{address}?sslmode=require",
        "GATEWAY_JWT_ISSUER": "https://project.supabase.co/auth/v1",
        "GATEWAY_ALLOWED_HOSTS": "gateway.example.com",
        "GATEWAY_ALLOWED_ORIGINS": "https://chat.example.com",
    }


def _defaults(good: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Case: settings with one development default in otherwise good ones."""
    address = good["GATEWAY_DATABASE_URL"].partition("?")[0]
    changes = [
        ("GATEWAY_LOG_LEVEL", "debug"),
        ("GATEWAY_RELOAD", "true"),
        ("GATEWAY_ALLOWED_HOSTS", "*"),
        ("GATEWAY_ALLOWED_ORIGINS", "*"),
        ("GATEWAY_JWT_ISSUER", "http://127.0.0.1:54321/auth/v1"),
        ("GATEWAY_DATABASE_URL", address),
        ("GATEWAY_DATABASE_URL", f"{address}?sslmode=disable"),
        *((f"GATEWAY_{name}", value) for name in _SECRETS for value in ("changeme", *PUBLISHED[:2])),
    ]
    shown = dict.fromkeys((f"GATEWAY_{word}" for word in _SECRETS), "a published secret")
    return {
        f"{name} = {shown.get(name, _kind(value))} #{number}": {**good, name: value}
        for number, (name, value) in enumerate(changes)
    }


def _kind(value: str) -> str:
    return value if "://" not in value else value.partition("://")[0] + " without TLS"


def _without(settings: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in settings.items() if key != name}


def _shown(print_of_value: str | None) -> str:
    return "absent" if print_of_value is None else f"the value with fingerprint {print_of_value}"
