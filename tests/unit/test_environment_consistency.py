"""What the loader refuses although each value is right by itself; and settings given as options."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from harness.environment.loader import load
from tests.unit.environment_files import edit, problems, project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return project(tmp_path)


WAIVER = "drills: true\nwaivers: [{check: '%s', reason: xxxxxxxxxx, owner: me, expires: 2027-01-01}]"


# --- what must fit together --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "local",
            "environment: local",
            "environment: here",
            "environment: is here, but the file is local.yaml",
        ),
        (
            "staging",
            "predecessor: local",
            "predecessor: lcal",
            "predecessor: there is no environment lcal (did you",
        ),
        ("staging", "predecessor: local", "predecessor: staging", "predecessor: goes round in a circle"),
        ("staging", "predecessor: local", "predecessor: production", "staging <- production <- staging"),
        (
            "local",
            "  GW-1:",
            "  GW-9:",
            "not_applicable.GW-9: is not an item of the deployment plan (did you mean",
        ),
        (
            "local",
            "  GW-1:",
            "  gw-2:",
            "not_applicable.gw-2: is not an item of the deployment plan (did you mean",
        ),
        ("local", "drills: true", WAIVER % "GW-1", "waivers[0].check: GW-1 is waived and not applicable"),
        ("local", "drills: true", WAIVER % "Web!", "waivers[0].check: is neither a check nor an item"),
        ("local", "port: 8000", "port: 8001", "gateway.port: port 8001 is that of instant.port"),
        ("local", "error_sink_port: 3001", "error_sink_port: 8002", "port 8002 is that of thinking.port"),
        (
            "local",
            "http://127.0.0.1:8000",
            "http://127.0.0.1:8009",
            "gateway.url: says port 8009, but gateway.port is",
        ),
        (
            "local",
            "http://127.0.0.1:54321",
            "http://127.0.0.1",
            "supabase.api_url: says port 80, but supabase.api_port",
        ),
        (
            "local",
            "http://127.0.0.1:8000",
            "http://10.0.0.1:8000",
            "10.0.0.1 is not loopback, but the provider is local",
        ),
        (
            "local",
            "request_tokens: 512",
            "request_tokens: 9999",
            "gateway.limits.request_tokens: 9999 fits no model",
        ),
        (
            "local",
            "user_tokens_per_day: 50000",
            "user_tokens_per_day: 10",
            "is more than user_tokens_per_day",
        ),
        (
            "local",
            "thinking_tokens_per_day: 200000",
            "thinking_tokens_per_day: 1",
            "is less than one request may use",
        ),
        ("staging", "https://staging.chat", "http://staging.chat", "web.url: is not https"),
        (
            "staging",
            "env:STAGING_VERCEL_TOKEN",
            "local:token",
            "web.token: local: makes up a secret on this machine",
        ),
    ],
)
def test_parts_that_contradict_each_other(root: Path, name: str, old: str, new: str, message: str) -> None:
    edit(root, name, (old, new))
    found = problems(root, name)
    matching = [problem for problem in found if message in problem]
    assert matching, found
    assert re.match(rf"environments/{name}\.yaml:\d+:\d+: ", matching[0])


# --- overrides ---------------------------------------------------------------------------------------


def test_an_override_replaces_a_value_and_a_port_takes_its_url_along(root: Path) -> None:
    loaded = load(
        "local", root, overrides=["web.port=3100", "instant.engine=vllm", "supabase.api_port=50001"]
    )
    assert loaded.environment.web.url == "http://localhost:3100"
    assert loaded.environment.supabase.api_url == "http://127.0.0.1:50001"
    assert loaded.environment.instant.engine == "vllm"
    assert loaded.where("web.port") == "--set web.port"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("web.prt=3", "--set web.prt: is not a known key (did you mean port?)"),
        ("web.port=x", "--set web.port: must be a whole number"),
        (
            "gateway.reload=yes",
            "--set gateway.reload: yes is a truth value to some readers and a word to others ",
        ),
        ("webport", "--set webport: is not a setting (write path=value: web.port=3100)"),
        ("web.=3", "--set web.: is not a setting (write path=value: web.port=3100)"),
        ("nothing.here=1", "--set nothing.here: the file has no nothing"),
        ("instant.engine=vlm", "--set instant.engine: is not one of its values (did you mean vllm?)"),
        ("gateway.url=http://127.0.0.1:1", "--set gateway.url: says port 1, but gateway.port is 8000"),
        ("web.port=", "--set web.port: has no value"),
    ],
)
def test_a_wrong_override_names_the_option(root: Path, setting: str, message: str) -> None:
    (problem,) = problems(root, overrides=[setting])
    assert problem.startswith(message)


# --- machines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "hosts: [gateway-1, gateway-2]",
            "hosts: [gatway-1, gateway-2]",
            "gateway.hosts[0]: there is no machine gatway-1 (did you mean gateway-1?)",
        ),
        (
            "  host: instant\n",
            "  host: instnt\n",
            "instant.host: there is no machine instnt (did you mean instant?)",
        ),
        ("balancer: balancer", "balancer: proxy", "gateway.balancer: there is no machine proxy"),
        (
            "sources: [balancer, operator]",
            "sources: [balancr, operator]",
            "machines.hosts[1].allows[1].sources[0]: there is no machine balancr (did you mean balancer?)",
        ),
        ("- name: instant\n", "- name: balancer\n", "machines.hosts[3].name: balancer is declared twice"),
        ("private_address: 100.72.0.31", "private_address: 10.0.0.1", "10.0.0.1 is not in 100.64.0.0/10"),
        ("private_address: 100.72.0.31", "private_address: nowhere", "machines.hosts[3].private_address:"),
        (
            "      private_address: 100.72.0.31\n",
            "",
            "machines.hosts[3].allows[1].over: instant has no private_address",
        ),
        ("range: 100.64.0.0/10", "range: 100.64.0.0/99", "machines.private_network.range:"),
    ],
)
def test_machines_that_do_not_fit_are_named(root: Path, old: str, new: str, message: str) -> None:
    edit(root, "staging", (old, new))
    assert any(message in problem for problem in problems(root, "staging")), problems(root, "staging")


def test_a_component_on_machines_needs_machines(root: Path) -> None:
    path = root / "environments" / "staging.yaml"
    text = path.read_text()
    begin, end = text.index("machines:\n"), text.index("drills:")
    path.write_text(text[:begin] + text[end:])
    found = problems(root, "staging")
    for place in ("gateway.hosts[0]", "gateway.balancer", "instant.host"):
        assert any(f"{place}: names the machine" in problem for problem in found), found


def test_a_waiver_ends_within_ninety_days(root: Path) -> None:
    today = dt.datetime.now(dt.UTC).date()
    last, beyond = today + dt.timedelta(days=90), today + dt.timedelta(days=92)
    waiver = WAIVER % "web.build"
    edit(root, "local", ("drills: true", waiver.replace("2027-01-01", str(last))))
    assert load("local", root).environment.waivers
    edit(root, "local", (str(last), str(beyond)))
    [problem] = problems(root)
    assert re.match(
        r"\S*environments/local.yaml:\d+:\d+: waivers\[0\].expires: is more than 90 days", problem
    )


def test_one_check_is_waived_at_several_places_and_once_at_each(root: Path) -> None:
    one = "{check: web.build, reason: xxxxxxxxxx, owner: me, expires: 2027-01-01, where: %s}"
    text = f"drills: true\nwaivers: [{one % 'a'}, {one % 'b'}]"
    edit(root, "local", ("drills: true", text))
    assert len(load("local", root).environment.waivers) == 2
    edit(root, "local", ("where: b", "where: a"))
    assert "web.build is waived twice" in problems(root)[0]
