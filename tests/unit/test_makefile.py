"""Set-up is begun again where it was killed: what stands in for pip and Python says what was done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAMP = ".harness/setup/python"
PYTHON = """\
#!/bin/sh
echo "made: $*" >> made.txt
mkdir -p .venv/bin
for name in python pip; do printf '#!/bin/sh\\nexit 0\\n' >.venv/bin/$name; chmod +x .venv/bin/$name; done
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "requirements-postgres.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    for path in ("tools/doctor.py", ".harness/setup/doctor"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    return tmp_path


def set_up(checkout: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(
        ["make", STAMP, f"PYTHON={checkout / 'python'}"],
        cwd=checkout,
        env=environment,
        check=True,
        timeout=60,
    )
    made = checkout / "made.txt"
    return made.read_text() if made.exists() else ""


def test_half_a_virtual_environment_is_made_anew(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
    assert set_up(checkout) == "made: -m venv --clear .venv\n"


def test_a_whole_one_is_kept(checkout: Path) -> None:
    assert set_up(checkout) == "made: -m venv --clear .venv\n"
    (checkout / STAMP).unlink()
    (checkout / "made.txt").unlink()
    assert set_up(checkout) == ""
