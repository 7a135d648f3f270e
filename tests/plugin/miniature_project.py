"""Runs the harness as people run it: a process of its own, in a miniature of the project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = 60.0
_UNSET = ("CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTEST_ADDOPTS", "GITHUB_ACTOR", "GITHUB_RUN_ID")


@dataclass(frozen=True)
class Outcome:
    """How a run ended, with everything that it printed."""

    project: Miniature
    exit: int
    text: str

    @property
    def run(self) -> dict[str, Any]:
        """What the run wrote about itself; empty when it was refused before it began."""
        path = self.project.state / "last-run.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def last_line(self) -> str:
        return self.text.rstrip().splitlines()[-1]

    def is_no_go(self, *named: str) -> None:
        """No sign of a pass anywhere, and the culprit is named."""
        assert self.exit != 0, self.text
        assert self.run.get("decision", "NO-GO") == "NO-GO", self.text
        assert not any(line.startswith(("GO", "VERIFIED")) for line in self.text.splitlines()), self.text
        for name in named:
            assert name in self.text, f"{name!r} is not in:\n{self.text}"

    def is_refused(self, *named: str) -> None:
        """The same, and nothing was deployed."""
        self.is_no_go(*named)
        assert not self.project.journal, "something was deployed"


class ForkServer:
    """Runs pytest in forks of one warm process (see fork_server.py)."""

    def __init__(self) -> None:
        argv = [sys.executable, str(HERE / "fork_server.py")]
        self._server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, argv: list[str], cwd: Path, env: dict[str, str], output: Path) -> int:
        """The exit status of pytest with ``argv``; its output is in the file ``output``."""
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None and stdout is not None
        request = {"argv": argv, "cwd": str(cwd), "env": env, "output": str(output)}
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        return int(stdout.readline())

    def close(self) -> None:
        self._server.communicate(timeout=SECONDS)


class Miniature:
    """A copy of tests/plugin/miniature with the real pytest.ini and the real local.yaml."""

    def __init__(self, root: Path, server: ForkServer) -> None:
        self.root, self._server = root, server
        shutil.copytree(HERE / "miniature", root, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "environments").mkdir()
        shutil.copy(ROOT / "environments" / "local.yaml", root / "environments")
        shutil.copy(ROOT / "pytest.ini", root)
        shutil.copy(ROOT / "features" / "test_scenarios.py", root / "features")

    @property
    def state(self) -> Path:
        return self.root / ".harness" / "local"

    @property
    def journal(self) -> list[str]:
        """What was deployed, in order."""
        path = self.root / "journal.txt"
        return path.read_text().split() if path.exists() else []

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text).lstrip())

    def feature(self, text: str) -> None:
        """One feature more: features/extra.feature."""
        self.write("features/extra.feature", text)

    def steps(self, text: str) -> None:
        """Steps more: more_steps.py."""
        head = "import minichecks as checks\nfrom pytest_bdd import given, parsers, then\n\n"
        self.write("more_steps.py", head + textwrap.dedent(text))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace ``old``, which must be there, in a file."""
        target = self.root / path
        text = target.read_text()
        assert old in text, f"{old!r} is not in {path}"
        target.write_text(text.replace(old, new))

    def argv(self, *arguments: str) -> list[str]:
        return ["--env", "local", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _UNSET}
        return {**kept, "PYTHONIOENCODING": "utf-8", **more}

    def pytest(self, *arguments: str, paths: tuple[str, ...] = ("features/",), **env: str) -> Outcome:
        """Run the checklists (or ``paths``) and wait for the end."""
        output = self.root / "output.txt"
        argv = self.argv(*arguments, *paths)
        status = self._server.run(argv, self.root, self.environment(**env), output)
        return Outcome(self, status, output.read_text(errors="replace"))

    def popen(self, *arguments: str, stdout: int, **env: str) -> subprocess.Popen[bytes]:
        """Start it as a process of its own, for tests that signal it or that give it a terminal."""
        # who runs the tests in the background may ignore Ctrl-C, and what is started inherits that
        listening = ["env", "--default-signal=INT", sys.executable]
        return subprocess.Popen(
            [*listening, "-m", "pytest", *self.argv(*arguments), "features/"],
            cwd=self.root,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
