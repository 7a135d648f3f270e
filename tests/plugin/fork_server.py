"""Runs pytest in forks of a process that has imported everything already: a tenth of the time.

One request a line on standard input ({"argv", "cwd", "env", "output"}), one exit status a line on standard
output. Nothing is shared between two runs but what was imported before the first.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from typing import Any

import pytest

PRELOADED = (
    "allure_commons",
    "harness.run",
    "httpx",
    "xml.etree.ElementTree",
    "psycopg",
    "pydantic",
    "rich.live",
)


def main() -> None:
    sys.path.pop(0)  # this directory, which is no part of what is tested
    answers = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    with tempfile.TemporaryDirectory() as empty:  # loads every plug-in as pytest wants it loaded
        # (all but a plug-in of development that takes a second)
        plugins = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        pytest.main(["-q", "--collect-only", *plugins, "-c", os.devnull, empty])
    for module in PRELOADED:
        importlib.import_module(module)
    for line in sys.stdin:
        answers.write(f"{_forked(json.loads(line))}\n")
        answers.flush()


def _forked(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _run(request)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _run(request: dict[str, Any]) -> None:
    status = 70
    try:
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        status = int(pytest.main(request["argv"]))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
