"""Builds: kept whole or not at all, one at a time, failures shown; what changes a release's name."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.providers import web_build
from harness.providers.local import next_build
from harness.providers.local.next_build import Build, first_errors, make_build, prune
from harness.providers.local.node import find_node

MAKES = """
const fs = require('fs');
fs.appendFileSync('runs', 'x');
console.log('Creating an optimized production build ...');
fs.mkdirSync('.next/standalone/.next', { recursive: true });
fs.mkdirSync('.next/static', { recursive: true });
fs.writeFileSync('.next/standalone/server.js', process.env.NEXT_PUBLIC_RELEASE + (process.env.LEAK || ''));
fs.writeFileSync('.next/static/a.js', '1');
"""
FAILS = """
console.log('▲ Next.js 16.4.6 (Turbopack)\\n   Creating an optimized production build ...');
console.log("Build error occurred\\n./app/page.tsx:3:10\\nModule not found: Can't resolve './nothing'");
process.exit(1);
"""


def sources(folder: Path, builder: str) -> Path:
    web = folder / "web"
    (web / "node_modules/next/dist/bin").mkdir(parents=True)
    (web / "node_modules/next/dist/bin/next").write_text(builder)
    (web / "public").mkdir()
    (web / "public/robots.txt").write_text("User-agent: *\n")
    (web / "app").mkdir()
    (web / "app/page.tsx").write_text("export default 1;\n")
    return web


def build(web: Path, name: str = "one", **variables: str) -> tuple[Build, list[str]]:
    made, told = Build(web.parent / "builds" / name), []
    inlined = {"NEXT_PUBLIC_RELEASE": "web@1", **variables}
    log = web.parent / "build.log"
    make_build(web, made, find_node("web"), inlined, log=log, progress=told.append)
    return made, told


def test_a_build_is_kept_with_all_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "of the developer's own environment")
    web = sources(tmp_path, MAKES)
    made, told = build(web)
    assert made.complete
    assert (made.directory / "server.js").read_text() == "web@1"
    assert (made.directory / ".next/static/a.js").exists()
    assert (made.directory / "public/robots.txt").exists()
    assert json.loads((made.directory / "build.json").read_text()) == {"release": "web@1"}
    assert told[:1] == ["compiling"]
    build(web)
    assert (web / "runs").read_text() == "x", "a complete build is not made again"


def test_a_build_that_fails_shows_its_first_errors_and_leaves_nothing(tmp_path: Path) -> None:
    web = sources(tmp_path, FAILS)
    with pytest.raises(DeployError) as caught:
        build(web)
    assert "Can't resolve './nothing'" in str(caught.value)
    assert "./app/page.tsx:3:10" in str(caught.value)
    assert "Next.js 16" not in str(caught.value)
    assert not list((tmp_path / "builds").iterdir())


def test_a_build_that_was_killed_half_way_is_not_taken_for_one(tmp_path: Path) -> None:
    web = sources(tmp_path, MAKES)
    half = tmp_path / "builds/one"
    half.mkdir(parents=True)
    (half / "server.js").write_text("half")
    made, _ = build(web)
    assert (made.directory / "server.js").read_text() == "web@1"


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(next_build.shutil, "copytree", full)
    with pytest.raises(DeployError, match="No space left on device") as caught:
        build(sources(tmp_path, MAKES))
    assert "free some disk space" in str(caught.value)


def test_builds_of_one_checkout_wait_for_each_other(tmp_path: Path) -> None:
    slow = MAKES + "\nAtomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);"
    busy = "if (fs.existsSync('busy')) process.exit(9);\nfs.writeFileSync('busy', '');"
    web = sources(
        tmp_path, slow.replace("console.log", busy + "\nconsole.log", 1) + "\nfs.unlinkSync('busy');"
    )
    started, failures = time.monotonic(), []

    def one(name: str) -> None:
        try:
            build(web, name)
        except DeployError as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert time.monotonic() - started > 0.8
    assert (tmp_path / "builds/two/server.js").exists()


def test_old_builds_go_but_never_the_one_in_use(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"build{number}").mkdir()
        os.utime(tmp_path / f"build{number}", (number, number))
    prune(tmp_path, tmp_path / "build0", most=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build0", "build3", "build4"]


def test_without_a_telling_line_the_last_ones_are_shown() -> None:
    assert first_errors(["one", "", "two"], count=1) == ["two"]
    assert first_errors(["ok", "Error: x", "    at y", "here"]) == ["Error: x", "here"]


def test_a_release_is_named_after_its_sources_and_nothing_else(tmp_path: Path) -> None:
    web = sources(tmp_path, MAKES)
    first = web_build.source_digest(web)
    (web / ".next").mkdir()
    (web / ".next/trace").write_text("1")
    (web / "next-env.d.ts").write_text("1")
    (web / "node_modules/x.js").write_text("1")
    assert web_build.source_digest(web) == first
    (web / "app/page.tsx").write_text("export default 2;\n")
    second = web_build.source_digest(web)
    assert second != first
    (web / "app/page.tsx").rename(web / "app/other.tsx")
    assert web_build.source_digest(web) not in (first, second)


def test_a_build_depends_on_its_variables_and_on_nodes_major_version(tmp_path: Path) -> None:
    web = sources(tmp_path, MAKES)
    one = web_build.build_digest(web, {"A": "1"}, "20.1.0")
    assert one == web_build.build_digest(web, {"A": "1"}, "20.2.0")
    assert one != web_build.build_digest(web, {"A": "2"}, "20.1.0")
    assert one != web_build.build_digest(web, {"A": "1"}, "22.1.0")
