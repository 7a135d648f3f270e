"""What is printed where: plain lines in files and pipes, colours and progress on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios

import pytest

from tests.plugin.miniature_project import Miniature, Outcome

REFUTED = """
    Feature: Extra

      @item:SB-1
      Scenario: Nobody reads what belongs to somebody else, whatever role the request is made with
        Given the gateway is deployed
        Then it is refuted
"""
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])")


def on_a_terminal(project: Miniature, columns: int, **env: str) -> str:
    """Everything that a run writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = project.popen(stdout=theirs, **{"TERM": "xterm-256color", **env})
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    process.wait(30)
    return written.decode(errors="replace")


def shown(written: str) -> list[str]:
    """Its lines without escape sequences."""
    flat = ESCAPE.sub(lambda code: "" if code[0].endswith("m") else "\n", written)
    return [line.rstrip() for line in flat.replace("\r", "\n").split("\n")]


def test_a_file_gets_plain_lines(project: Miniature) -> None:
    project.feature(REFUTED)
    text = project.pytest().text
    assert not CONTROL.search(text), CONTROL.findall(text)
    line = next(line for line in text.splitlines() if "Nobody reads" in line and "✗" in line)
    assert "whatever role the request is made with" in line, "nothing is cut or wrapped in a file"
    for told in ("expected  RLS on every table", "observed  public.notes has none", "to do  enable it"):
        assert told in text
    assert "where  table public.notes" in text


def test_github_and_the_like_get_plain_lines_on_a_terminal_too(project: Miniature) -> None:
    written = on_a_terminal(project, 100, CI="1")
    assert "\x1b" not in written
    assert "GO  local: this release may be promoted" in written


def test_force_color_colours_a_log(project: Miniature) -> None:
    text = project.pytest(FORCE_COLOR="1").text
    assert "\x1b[32m" in text
    assert not re.search(r"\x1b\[[0-9]*[A-HJK]", text), "a log cannot move its cursor"


def test_a_terminal_is_coloured_and_shows_progress(project: Miniature) -> None:
    written = on_a_terminal(project, 100)
    assert "\x1b[32m✓" in written
    assert "of 3 checks answered" in written
    assert written.index("checks answered") < written.index("The gateway answers")
    assert [line for line in shown(written) if line][-1].startswith(
        " GO   local: this release may be promoted"
    )


def test_no_color_is_honoured(project: Miniature) -> None:
    written = on_a_terminal(project, 100, NO_COLOR="1")
    colours = re.findall(r"\x1b\[[0-9;]*m", written)
    assert not [code for code in colours if re.search(r"[\[;](3|4|9)[0-9]", code)], set(colours)


@pytest.mark.parametrize("columns", [80, 50])
def test_nothing_is_cut_on_a_narrow_terminal(project: Miniature, columns: int) -> None:
    project.feature(REFUTED)
    lines = shown(on_a_terminal(project, columns))
    assert not [line for line in lines if len(line) > columns]
    text = " ".join(" ".join(lines).split())
    words = text.replace(" ", "")
    for told in (
        "whatever role the request is made with",
        "public.notes has none",
        "NO-GO local: do not promote",
    ):
        assert told.replace(" ", "") in re.sub(r"\d+\.\d+s", "", words), told


def test_a_terminal_that_knows_no_unicode(project: Miniature) -> None:
    project.feature(REFUTED)
    written = on_a_terminal(project, 100, PYTHONIOENCODING="latin-1")
    assert written.isascii(), {character for character in written if ord(character) > 127}
    assert any(line.startswith("  x SB-1") for line in shown(written))
    assert any(line.startswith("  + GW-2") for line in shown(written))


def test_pytests_own_lines_come_back_when_asked_for(project: Miniature) -> None:
    assert "collected" not in project.pytest().text
    assert "collected 5 items" in project.pytest("-v").text


def test_a_run_that_nobody_reads_any_more_ends_all_the_same(project: Miniature) -> None:
    project.feature(REFUTED)
    ours, theirs = os.pipe()
    process = project.popen(stdout=theirs)
    os.close(theirs)
    assert os.read(ours, 10)
    os.close(ours)
    assert process.wait(30) == 1
    assert Outcome(project, 1, "").run["reasons"][0].startswith("SB-1 Nobody reads")
