"""How pytest was started: what could make a run say something else than the tree's own checklists say.

A plug-in can put any function in the place of another. So evidence names every plug-in that comes neither
from this tree nor from the locked packages, and every option that bends what is run; no gate opens for it.
Who may sign evidence can do more than a plug-in can: this is against accidents and borrowed shells.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from harness.provenance import git_environ

__all__ = ["FOREIGN", "arguments", "foreign"]

FOREIGN = "pytest: "
"""What such an entry begins with, among the overrides of a run."""
_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
_OPTIONS = {
    "inifilename": "-c",
    "rootdir": "--rootdir",
    "confcutdir": "--confcutdir",
    "noconftest": "--noconftest",
    "pyargs": "--pyargs",
}
_STRICT = ("strict_markers=true", "strict_config=true")  # how pytest remembers --strict-…
_OWN = Path(__file__).resolve().parent
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)
_SECONDS = 5.0


def arguments(config: pytest.Config) -> tuple[str, ...]:
    """What pytest was told: by the command line, and by its variables."""
    told = [f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]
    return (*told, *(str(argument) for argument in config.invocation_params.args))


def foreign(config: pytest.Config) -> list[str]:
    """Everything about this run that is neither of this tree nor locked by it, a line for each."""
    found = [f"{name} is set: {os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]
    replaced = [ini for ini in config.option.override_ini or () if ini not in _STRICT]
    found += [f"-o {ini}" for ini in replaced]
    for option, written in _OPTIONS.items():
        if value := getattr(config.option, option, None):
            found.append(f"{written} {value}" if value is not True else written)
    asked = [name for name in config.option.plugins or () if not name.startswith("no:")]
    found += [f"-p {name}" for name in asked]
    root = Path(config.rootpath).resolve()
    if (root / "harness").is_dir() and not _OWN.is_relative_to(root):
        found.append(f"the harness itself comes from {_OWN.parent}, not from {root}")
    found += [f"the plug-in {name} comes from {where}" for name, where in _strangers(config, root)]
    return [FOREIGN + line for line in found]


def _strangers(config: pytest.Config, root: Path) -> Iterator[tuple[str, str]]:
    """Name and file of every plug-in that comes neither from the tree nor from a locked package."""
    plugins = {name: plugin for name, plugin in config.pluginmanager.list_name_plugin() if plugin}
    files = {name: _file_of(plugin) for name, plugin in plugins.items()}
    installed = {id(plugin): dist for plugin, dist in config.pluginmanager.list_plugin_distinfo()}
    locked = {**_locked(_OWN.parent), **_locked(root)}
    ignored = _ignored(root, {file for file in files.values() if file is not None})
    for name, file in files.items():
        if file is None:
            yield name, "no file"
        elif (package := _package(file)) is not None:
            known = installed.get(id(plugins[name]))
            versions = {known.project_name: known.version} if known else _versions(package)
            if not any(locked.get(_canonical(dist)) == version for dist, version in versions.items()):
                yield name, f"{file} ({package} is not among the locked packages)"
        elif not file.is_relative_to(_OWN) and (not file.is_relative_to(root) or file in ignored):
            yield name, str(file)


def _file_of(plugin: object) -> Path | None:
    module = plugin if isinstance(plugin, ModuleType) else sys.modules.get(type(plugin).__module__)
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _package(file: Path) -> str | None:
    """The top-level name of what was installed with ``file``; None for a file that was not installed."""
    for kind in ("purelib", "platlib"):
        home = Path(sysconfig.get_path(kind)).resolve()
        if file.is_relative_to(home):
            return file.relative_to(home).parts[0].removesuffix(".py")
    return None


@cache
def _versions(package: str) -> dict[str, str]:
    """Distribution: version, of what has installed ``package``."""
    if package == "_pytest":  # nearly all of them: not worth a look at every installed package
        return {"pytest": pytest.__version__}
    return {name: metadata.version(name) for name in metadata.packages_distributions().get(package, [])}


@cache
def _locked(root: Path) -> dict[str, str]:
    """Package: version, of every lock file of the tree at ``root``."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(root.glob("requirements*.txt"))]
    return {_canonical(name): version for text in texts for name, version in _LOCKED.findall(text)}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _ignored(root: Path, files: Iterable[Path]) -> set[Path]:
    """Those of ``files`` that git passes over: they are in the tree, and no commit names them."""
    inside = [str(file.relative_to(root)) for file in files if file.is_relative_to(root)]
    argv = ["git", "-c", f"safe.directory={root}", "-C", str(root), "ls-files", "-z", "--others"]
    argv += ["--ignored", "--exclude-standard", "--", *inside]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_SECONDS, check=False, env=git_environ()
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()  # outside a repository no gate opens anyway
    return {root / name for name in done.stdout.split("\0") if name} if inside else set()
