"""Environment files to break: the real ones, edited."""

from __future__ import annotations

from pathlib import Path

from harness.environment.loader import load
from harness.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


def project(tmp_path: Path) -> Path:
    """A root with the real environment files."""
    folder = tmp_path / "environments"
    folder.mkdir()
    for path in (ROOT / "environments").glob("*.yaml"):
        (folder / path.name).write_text(path.read_text(), encoding="utf-8")
    return tmp_path


def edit(root: Path, name: str, *changes: tuple[str, str]) -> None:
    """Replace text in an environment file; it must be there."""
    path = root / "environments" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"{old!r} is not in {path.name}"
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")


def line_of(root: Path, name: str, text: str) -> int:
    """The line in which ``text`` stands first."""
    lines = (root / "environments" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def problems(root: Path, name: str | Path = "local", **options: object) -> list[str]:
    """What the loader says of an environment that it must refuse."""
    try:
        load(name, root, **options)
    except ConfigurationError as error:
        return [str(problem) for problem in error.problems]
    raise AssertionError(f"{name} was accepted")
