"""What a release is made of, and how each part is digested from the tree.

Only what is the same in every environment can be promoted. The web app's build is not: its public variables
are compiled in. So a release names what the build is made from, and each environment's own build is proven
by the checks that ask the served app for its release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.errors import HarnessError
from harness.migrations import migrations_in
from harness.providers.gateway_environment import image_sources
from harness.providers.gateway_environment import source_digest as gateway_source
from harness.providers.web_build import source_digest as web_source

__all__ = ["CHECKLIST", "IMAGE", "TREE", "tree_digest"]

IMAGE = "gateway-image"
"""The one artefact that the tree alone does not give: whoever builds the image knows its digest."""
CHECKLIST = "checklist"
_PASSED_OVER = {"__pycache__", "node_modules", ".next"}


class Absent(HarnessError):
    """The tree does not hold what an artefact is made from."""


def _files(root: Path, *parts: str) -> list[Path]:
    """Every file below ``parts`` of ``root``, in a stable order."""
    found: list[Path] = []
    for part in parts:
        path = root / part
        if path.is_file():
            found.append(path)
        elif path.is_dir():
            files = (file for file in path.rglob("*") if file.is_file())
            found += [f for f in files if not _PASSED_OVER & set(f.parts) and f.suffix != ".pyc"]
    return sorted(found)


def tree_digest(root: Path, files: Iterable[Path]) -> str:
    """sha256 over the names (relative to ``root``) and the content of ``files``, in their order."""
    digest = hashlib.sha256()
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _of(*parts: str) -> Callable[[Path], str]:
    def digest(root: Path) -> str:
        files = _files(root, *parts)
        if not files:
            raise Absent(f"there is no {parts[0]} in this tree")
        return tree_digest(root, files)

    return digest


def _gateway(root: Path) -> str:
    if not all(path.is_file() for path in image_sources(root)):
        raise Absent("there is no gateway in this tree")
    return gateway_source(root)


def _web(root: Path) -> str:
    if not (root / "web").is_dir():
        raise Absent("there is no web in this tree")
    return web_source(root / "web")


def _migrations(root: Path) -> str:
    found = migrations_in(root / "supabase" / "migrations")
    if not found:
        raise Absent("there is no migration in this tree")
    return tree_digest(root, [migration.path for migration in found if migration.path])


TREE: dict[str, Callable[[Path], str]] = {
    CHECKLIST: _of("features", "steps", "harness", "conftest.py", "pytest.ini"),
    "gateway-source": _gateway,
    "inference-configuration": _of("inference"),
    "migrations": _migrations,
    "model-manifest": _of("inference/models.yaml"),
    "rollbacks": _of("supabase/rollbacks"),
    "web-build": _web,
}
"""Artefact: its sha256 in hexadecimal, from the tree. Raises :class:`Absent` where the tree has none."""
