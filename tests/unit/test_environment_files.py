"""The environment files as they are: complete, without secrets, and agreeing with what is generated."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from harness.environment.explain import _arms, secret_fields
from harness.environment.loader import load
from harness.environment.model import COMPONENTS, Environment
from harness.environment.reference import fields_text
from harness.environment.schema import schema_text
from harness.generated import BEGIN, END
from tests.unit.environment_files import ROOT, edit, problems, project

NAMES = sorted(path.stem for path in (ROOT / "environments").glob("*.yaml"))
HOSTED = ("staging", "production")
SCHEMA = json.loads((ROOT / "environments" / "schema.json").read_text(encoding="utf-8"))


def test_the_schema_is_that_of_the_model() -> None:
    written = (ROOT / "environments" / "schema.json").read_text(encoding="utf-8")
    assert written == schema_text(), "environments/schema.json is stale: run `make docs`"


def test_the_guide_lists_the_fields_of_the_model() -> None:
    guide = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    generated = guide.partition(BEGIN)[2].partition(END)[0].strip()
    assert generated == fields_text().strip(), "docs/environments.md is stale: run `make docs`"


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_accepts_every_file(name: str) -> None:
    jsonschema.validate(yaml.safe_load((ROOT / "environments" / f"{name}.yaml").read_text()), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("gateway", "limits", "request_token"), 3),
        (("gateway", "port"), 0),
        (("gateway", "provider"), "lokal"),
        (("gateway", "metrics_token"), "in-clear"),
        (("gateway", "url"), "127.0.0.1:8000"),
        (("not_applicable", "GW-9"), "long enough a reason"),
        (("drills",), "yes"),
        (("extra",), 1),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(path: tuple[str, ...], value: object) -> None:
    data = copy.deepcopy(yaml.safe_load((ROOT / "environments" / "local.yaml").read_text()))
    node = data
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)


def models(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {model}
    for field in model.model_fields.values():
        for arm in _arms(field.annotation):
            if isinstance(arm, type) and issubclass(arm, BaseModel):
                found |= models(arm)
    return found


@pytest.mark.parametrize("model", sorted(models(Environment), key=str), ids=lambda model: model.__name__)
def test_every_field_says_what_it_means(model: type[BaseModel]) -> None:
    silent = [n for n, field in model.model_fields.items() if not field.description and n != "provider"]
    described = {"supabase", "instant", "thinking", "gateway", "web"}
    assert set(silent) <= described, f"{model.__name__}: describe {silent}"


@pytest.mark.parametrize("name", NAMES)
def test_the_editor_is_told_of_the_schema(name: str) -> None:
    head = (ROOT / "environments" / f"{name}.yaml").read_text().splitlines()[:6]
    assert "# yaml-language-server: $schema=schema.json" in head


@pytest.mark.parametrize("name", HOSTED)
def test_hosted_environments_use_reserved_names_and_no_local_part(name: str) -> None:
    environment = load(name, ROOT).environment
    assert all(getattr(environment, component).provider != "local" for component in COMPONENTS)
    text = (ROOT / "environments" / f"{name}.yaml").read_text()
    hosts = set(re.findall(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|net|org|io|dev|app|example)\b", text))
    assert {host for host in hosts if not host.endswith(".example")} <= {"rest.runpod.io"}


def test_staging_and_production_share_no_secret_no_url_and_no_database() -> None:
    staging, production = (load(name, ROOT).environment for name in ("staging", "production"))
    assert not {r for _, r in secret_fields(staging)} & {r for _, r in secret_fields(production)}
    for component in COMPONENTS:
        for field in ("url", "api_url", "database_host", "project_ref", "endpoint_id"):
            mine = getattr(getattr(staging, component), field, None)
            assert mine is None or mine != getattr(getattr(production, component), field)
    machines = [environment.machines for environment in (staging, production)]
    mine, other = ({host.address for host in part.hosts} for part in machines if part)
    assert mine
    assert not mine & other


def test_releases_come_from_local_through_staging_and_only_production_has_no_drills() -> None:
    chain = {name: load(name, ROOT).environment for name in ("local", *HOSTED)}
    assert [environment.predecessor for environment in chain.values()] == [None, "local", "staging"]
    assert [environment.drills for environment in chain.values()] == [True, True, False]


def test_the_example_of_the_guide_is_what_the_loader_says(tmp_path: Path) -> None:
    root = project(tmp_path)
    edit(
        root,
        "staging",
        ("  database_host:", "  databse_host:"),
        ("\nweb:\n", "\ngateway:\n  url: x\n\nweb:\n"),
        ("drills: true ", "drills: yes "),
    )
    guide = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    example = guide.partition("```text\n")[2].partition("```")[0].splitlines()
    assert example[0] == "environment staging: 3 problems"
    assert [without_numbers(line) for line in example[1:]] == [
        without_numbers(problem) for problem in problems(root, "staging")
    ]


def without_numbers(problem: str) -> str:
    """Lines of staging.yaml move; the guide need not follow."""
    return re.sub(r":\d+:\d+:|line \d+", "", problem.strip())
