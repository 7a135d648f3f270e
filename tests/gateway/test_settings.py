"""Settings: everything that is wrong at once, nothing assumed, no value ever shown."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gateway.settings import Settings, SettingsError, load
from tests.gateway.stand import ROOT, settings

SENTINEL = "sentinel-value-that-must-not-be-shown"


def production(**more):
    env = settings("postgresql://gateway:p@db:5432/postgres?sslmode=verify-full", "https://engine.example")
    return env | {
        "GATEWAY_ENVIRONMENT": "production",
        "GATEWAY_LOG_LEVEL": "info",
        "GATEWAY_JWT_ISSUER": "https://project.example/auth/v1",
        **{f"GATEWAY_{name.upper()}": value for name, value in more.items()},
    }


def problems(env):
    with pytest.raises(SettingsError) as caught:
        load(env)
    return caught.value.problems


def test_complete_settings_load():
    assert load(production()).environment == "production"
    assert "sentinel" not in repr(load(production()))


@pytest.mark.parametrize("environment", ["local", "staging", "production"])
def test_nothing_that_matters_has_a_default(environment):
    missing = problems({"GATEWAY_ENVIRONMENT": environment})
    required = [name for name, field in Settings.model_fields.items() if field.is_required()]
    assert len(required) >= 19
    for name in required:
        if name != "environment":
            assert any(f"GATEWAY_{name.upper()} is not set" in line for line in missing), name
    assert any("GATEWAY_JWT_SECRET or GATEWAY_JWKS_URL" in line for line in missing)


def test_every_problem_at_once_with_the_nearest_name():
    env = production(
        port="0x1f90", limit_user_concurrency="none", limt_request_tokens="5", instant_url="nope"
    )
    found = problems(env)
    assert len(found) == 4
    assert any("did you mean GATEWAY_LIMIT_REQUEST_TOKENS?" in line for line in found)


UNSAFE = {
    "http issuer": {"jwt_issuer": "http://project.example/auth/v1"},
    "http keys": {"jwks_url": "http://project.example/keys"},
    "no hosts": {"allowed_hosts": ""},
    "any host": {"allowed_hosts": "*"},
    "any origin": {"allowed_origins": "*"},
    "debug": {"log_level": "debug"},
    "reload": {"reload": "true"},
    "short secret": {"jwt_secret": "short"},
    "short key": {"instant_key": "short"},
    "short metrics token": {"metrics_token": "short"},
    "database without TLS": {"database_url": "postgresql://gateway:p@db/postgres"},
    "database by another name": {"database_url": "mysql://gateway:p@db/postgres?sslmode=require"},
    "an authority that is none": {
        "database_ca": "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----"
    },
    "nothing to verify with": {"jwt_secret": "", "jwks_url": ""},
    "blank key": {"thinking_key": ""},
    "infinite time-out": {"timeout_idle_seconds": "inf"},
    "negative limit": {"limit_request_tokens": "-5"},
}


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_in_production(name):
    assert len(problems(production(**UNSAFE[name]))) >= 1


@pytest.mark.parametrize("spelling", ["true", "True", "1", "on", "yes", "y", "t", "T"])
def test_reload_is_for_development_however_it_is_spelled(spelling):
    assert any("GATEWAY_RELOAD" in line for line in problems(production(reload=spelling)))


def test_no_reload_is_no_problem():
    for spelling in ("0", "off", "f", "false", "n", "no", "No"):
        assert load(production(reload=spelling)).reload is False


def test_no_value_is_shown():
    env = dict.fromkeys(production(), SENTINEL)
    env["GATEWAY_DATABASE_URL"] = f"postgresql://x:{SENTINEL}@[bad"
    assert SENTINEL not in "\n".join(problems(env))


def test_the_process_says_it_in_json_and_stops():
    run = subprocess.run(
        [sys.executable, "-m", "gateway"],
        cwd=ROOT,
        env={"GATEWAY_ENVIRONMENT": "production", "GATEWAY_JWT_SECRET": SENTINEL[:9]},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert run.returncode == 2 and run.stderr == ""
    line = json.loads(run.stdout)
    assert line["event"] == "settings_invalid" and len(line["problems"]) > 15
    assert SENTINEL[:9] not in run.stdout
