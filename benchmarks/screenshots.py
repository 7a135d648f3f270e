"""Pictures for the README: a command as a terminal shows it, a page as a browser shows it.

    python benchmarks/screenshots.py terminal --out docs/images/terminal.png -- make local
    python benchmarks/screenshots.py terminal --out docs/images/progress.png --after 8 -- make local
    python benchmarks/screenshots.py page .harness/local/report/index.html --out docs/images/report.png

Needs tmux (a real terminal, that can be read) and chromium. A name that ends in .svg needs no chromium.
"""

from __future__ import annotations

import argparse
import io
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from harness.waiting import wait_until

THEME = TerminalTheme(
    (22, 25, 30),
    (222, 226, 232),
    [
        *((40, 44, 52), (240, 113, 120), (95, 204, 138), (230, 180, 80)),
        *((97, 175, 239), (198, 140, 240), (86, 194, 214), (222, 226, 232)),
    ],
    [
        *((120, 128, 140), (255, 128, 138), (120, 224, 160), (245, 200, 110)),
        *((130, 195, 255), (215, 165, 255), (120, 215, 232), (255, 255, 255)),
    ],
)
CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    "--virtual-time-budget=5000",
)
SECONDS = 120.0


def terminal(command: list[str], columns: int, lines: int, after: float | None, longest: float) -> str:
    """The screen, with its colours, when ``command`` has ended, or ``after`` seconds."""
    with tempfile.TemporaryDirectory() as directory:
        tmux = ["tmux", "-S", f"{directory}/socket", "-f", "/dev/null"]
        size = ["-x", str(columns), "-y", str(lines)]
        keep = [
            ";",
            "set-option",
            "-g",
            "remain-on-exit",
            "on",
            ";",
            "set-option",
            "-g",
            "history-limit",
            "9999",
        ]
        started = ["new-session", "-d", *size, "sleep 0.3; exec " + shlex.join(command)]
        subprocess.run([*tmux, *started, *keep], check=True, timeout=SECONDS)
        try:
            if after is not None:
                time.sleep(after)  # what is wanted is the picture at this moment
                first = "0"
            else:
                dead = [*tmux, "list-panes", "-F", "#{pane_dead}"]
                wait_until("the command to end", lambda: output(dead).strip() == "1", seconds=longest)
                first = "-"
            return output([*tmux, "capture-pane", "-e", "-p", "-S", first])
        finally:
            subprocess.run([*tmux, "kill-server"], check=False, timeout=SECONDS)


def output(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=SECONDS).stdout


def as_svg(screen: str, columns: int, title: str, last: int | None) -> str:
    """A window with what is on ``screen``; nothing is loaded from anywhere."""
    decoded = list(AnsiDecoder().decode(screen.rstrip()))  # colours go on from one line to the next
    shown = [line for line in decoded if not line.plain.startswith("Pane is dead")]
    console = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in shown[-last:] if last else shown:
        console.print(line, no_wrap=True, crop=True)
    svg = console.export_svg(title=title, theme=THEME)
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    return svg.replace("Fira Code", "DejaVu Sans Mono")


def photograph(address: str, target: Path, width: int, height: int, *flags: str) -> None:
    """A picture of the page at ``address``."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("chromium is not installed; a name that ends in .svg needs none")
    with tempfile.TemporaryDirectory() as profile:
        argv = [
            chromium,
            *CHROMIUM_FLAGS,
            *flags,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
        ]
        argv += [f"--screenshot={target}", address]
        subprocess.run(argv, check=True, capture_output=True, timeout=SECONDS)


def write_terminal(options: argparse.Namespace) -> None:
    screen = terminal(options.command, options.columns, options.lines, options.after, options.longest)
    svg = as_svg(screen, options.columns, options.title, options.last)
    if options.out.suffix == ".svg":
        options.out.write_text(svg, encoding="utf-8")
        return
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None
    width, height = (round(float(number)) for number in box.groups())
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "screen.html"
        page.write_text(f'<meta charset="utf-8"><body style="margin:0">{svg}', encoding="utf-8")
        see_through = "--default-background-color=00000000"
        photograph(page.as_uri(), options.out, width, height, see_through)


def write_page(options: argparse.Namespace) -> None:
    dark = ("--blink-settings=preferredColorScheme=0",) if options.dark else ()
    photograph(options.page.resolve().as_uri(), options.out, options.width, options.height, *dark)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures for the README.")
    kinds = parser.add_subparsers(required=True)
    of_terminal = kinds.add_parser("terminal", help="a command, in a terminal")
    of_terminal.add_argument("--columns", type=int, default=100)
    of_terminal.add_argument("--lines", type=int, default=40, help="height of the terminal while it runs")
    of_terminal.add_argument("--last", type=int, help="only the last lines")
    of_terminal.add_argument(
        "--after", type=float, help="seconds after which to look; else: when it has ended"
    )
    of_terminal.add_argument("--longest", type=float, default=900.0, help="seconds that it may take")
    of_terminal.add_argument("--title", default="make local")
    of_terminal.add_argument("command", nargs="+")
    of_terminal.set_defaults(write=write_terminal)
    of_page = kinds.add_parser("page", help="an HTML file, in a browser")
    of_page.add_argument("page", type=Path)
    of_page.add_argument("--width", type=int, default=1200)
    of_page.add_argument("--height", type=int, default=1000)
    of_page.add_argument("--dark", action="store_true")
    of_page.set_defaults(write=write_page)
    for kind in (of_terminal, of_page):
        kind.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.write(options)


if __name__ == "__main__":
    main()
