"""No input makes the loader raise anything but a ConfigurationError, and none makes it slow."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.environment.explain import dotted
from harness.environment.loader import load
from harness.environment.yaml_tree import read_tree
from harness.errors import ConfigurationError
from tests.unit.environment_files import ROOT

REAL = {
    name: (ROOT / "environments" / f"{name}.yaml").read_text(encoding="utf-8")
    for name in ("local", "staging", "production")
}
RELAXED = settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["yes", "3.10", "017", "local", "env:X", "local:x", "http://[", "https://a:1", "2027-01-01"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def accept_or_refuse(content: bytes, tmp_path: Path, overrides: list[str] | None = None) -> None:
    path = tmp_path / "environments" / "fuzz.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        load("fuzz", tmp_path, overrides=overrides or [])
    except ConfigurationError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.where
            assert problem.what


@RELAXED
@given(content=st.binary(max_size=200))
def test_any_bytes(content: bytes, tmp_path: Path) -> None:
    accept_or_refuse(content, tmp_path)


@RELAXED
@given(content=st.text(alphabet="ab:-[]{}#&*!|>'\"%@`,?<~ \n\t0129._", max_size=120))
def test_any_text_that_looks_like_yaml(content: str, tmp_path: Path) -> None:
    accept_or_refuse(content.encode(), tmp_path)


@RELAXED
@given(data=st.data())
def test_a_real_file_with_a_part_cut_out_or_put_in(data: st.DataObject, tmp_path: Path) -> None:
    text = REAL[data.draw(st.sampled_from(sorted(REAL)))]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 60)))
    put = data.draw(st.text(alphabet="ab:-[]{}#&*!|>'\" \n\t01._\0é", max_size=10))
    accept_or_refuse((text[:start] + put + text[end:]).encode(), tmp_path)


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(found for key, value in below for found in paths(value, (*path, key)))]


@RELAXED
@given(data=st.data())
def test_a_real_file_with_any_value_anywhere(data: st.DataObject, tmp_path: Path) -> None:
    tree = copy.deepcopy(yaml.safe_load(REAL[data.draw(st.sampled_from(sorted(REAL)))]))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(tree)[1:]))
        node = tree
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = data.draw(VALUES)
    accept_or_refuse(yaml.safe_dump(tree).encode(), tmp_path)


@RELAXED
@given(name=st.text(max_size=40))
def test_any_name_of_an_environment(name: str) -> None:
    try:
        assert load(name, ROOT).environment.environment in REAL
    except ConfigurationError as error:
        assert error.problems[0].what


@RELAXED
@given(setting=st.one_of(st.text(max_size=30), st.builds("{}={}".format, st.sampled_from(
    ["web.port", "web.url", "web", "gateway.limits", "gateway.limits.request_tokens", "waivers.0", "schema"]
), st.text(max_size=20))))  # fmt: skip
def test_any_override(setting: str, tmp_path: Path) -> None:
    accept_or_refuse(
        REAL["local"].replace("environment: local", "environment: fuzz").encode(), tmp_path, [setting]
    )


@pytest.mark.parametrize("name", sorted(REAL))
def test_the_same_data_as_the_standard_reader(name: str) -> None:
    tree = read_tree(REAL[name])
    assert not tree.flaws
    assert tree.data == yaml.safe_load(REAL[name])
    assert {dotted(path) for path in paths(tree.data)} == {dotted(path) for path in tree.values}
