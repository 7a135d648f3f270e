"""What of a run is not the tree's own: plug-ins from elsewhere, packages that nobody has locked."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from harness import invocation
from harness.invocation import FOREIGN, foreign


def plugins(config: pytest.Config) -> list[str]:
    """Those that are named; but for what pytest-xdist puts into a worker, where no checklist ever runs."""
    worker = {name for name, plugin in config.pluginmanager.list_name_plugin() if "Worker" in repr(plugin)}
    named = [line.removeprefix(FOREIGN) for line in foreign(config) if "the plug-in" in line]
    return [line for line in named if line.split()[2] not in worker]


def test_the_trees_own_and_the_locked_packages_are_not_foreign(pytestconfig: pytest.Config) -> None:
    assert plugins(pytestconfig) == []


def test_a_package_in_another_version_than_the_locked_one_is(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = invocation._locked(invocation._OWN.parent)
    monkeypatch.setattr(invocation, "_locked", lambda _: {**locked, "pytest-bdd": "0.0.1"})
    [found] = plugins(pytestconfig)
    assert found.startswith("the plug-in pytest-bdd comes from ")
    assert found.endswith("(pytest_bdd is not among the locked packages)")


def test_a_plugin_without_a_file_is(pytestconfig: pytest.Config) -> None:
    pytestconfig.pluginmanager.register(types.ModuleType("made_up"), "made_up")
    try:
        assert plugins(pytestconfig) == ["the plug-in made_up comes from no file"]
    finally:
        pytestconfig.pluginmanager.unregister(name="made_up")


def test_a_variable_is_named_with_its_value(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p evil")
    assert f"{FOREIGN}PYTEST_ADDOPTS is set: -p evil" in foreign(pytestconfig)
    assert "PYTEST_ADDOPTS=-p evil" in invocation.arguments(pytestconfig)


def test_the_lock_files_name_packages_with_their_versions(tmp_path: Path) -> None:
    text = "Some_Package[extra]==1.2 \\\n    --hash=sha256:00\n# other==3\nb==4 ; python_version < '4'\n"
    (tmp_path / "requirements.txt").write_text(text)
    assert invocation._locked(tmp_path) == {"some-package": "1.2", "b": "4"}
