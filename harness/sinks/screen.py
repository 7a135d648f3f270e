"""Where lines are printed: rich on a terminal, plain words anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys

from rich.console import ConsoleDimensions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.plain import PlainConsole

__all__ = ["Screen"]

_SYMBOLS = {"holds": "✓", "refuted": "✗", "unreachable": "!", "blocked": "⊘", "waived": "~"}
_SYMBOLS |= {"busy": "…", "none": "-"}
_ASCII = {"holds": "+", "refuted": "x", "unreachable": "!", "blocked": "o", "waived": "~"}
_ASCII |= {"busy": ".", "none": "-"}
_LABEL = 9  # columns of a component's name or an item
_INDENT = 4
_WIDTH = 80


class _Console(PlainConsole):
    """Asks its own file how wide it is: pytest puts files in the place of the standard ones."""

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        try:
            found = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):  # no terminal, or closed
            return super().size
        return ConsoleDimensions(found.columns or _WIDTH, found.lines or 25)

    def on_broken_pipe(self) -> None:
        """Nobody reads any more (`| head`): the run goes on, and writes its files."""
        self.quiet = True


class Screen:
    """Prints to what was standard output when it was made: pytest captures that while scenarios run."""

    def __init__(self) -> None:
        encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
        self._out = os.fdopen(os.dup(1), "w", encoding=encoding, errors="replace")
        self.live = _is_live(self._out.isatty())
        """Whether progress can be drawn in place."""
        self.unicode = encoding.lower().replace("-", "").startswith("utf")
        self._symbols = _SYMBOLS if self.unicode else _ASCII
        self.bullet = "•" if self.unicode else "*"
        # colours in a log that renders them are for whoever sets FORCE_COLOR to decide
        forced = None if self.live or os.environ.get("FORCE_COLOR") else False
        self.console = _Console(file=self._out, highlight=False, force_terminal=forced, emoji=False)
        self.colour = self.console.is_terminal

    def line(self, text: Text) -> None:
        """A line of its own."""
        self._print(text)

    def _print(self, what: RenderableType) -> None:
        if not self._out.closed:  # a check that hung may end when everything has been said
            self.console.print(what, soft_wrap=not self.live)

    def row(self, symbol: str, style: str, label: str, text: Text, tail: Text | None = None) -> None:
        """A symbol, a label, a text and what stands at its end; a long text wraps below itself."""
        mark = Text(self._symbols[symbol], style)
        if not self.live:
            line = Text("  ") + mark + Text(f" {label:<{_LABEL}} ", "dim") + text
            self._print(line + Text("  ") + tail if tail else line)
            return
        grid = Table.grid(padding=(0, 1, 0, 0), expand=True)
        grid.add_column(width=1)
        grid.add_column(width=1)
        grid.add_column(width=_LABEL, overflow="fold")
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(Text(""), mark, Text(label, "dim"), text, tail or Text(""))
        self._print(grid)

    def detail(self, text: Text) -> None:
        """A line below a row."""
        if self.live:
            self._print(Padding(text, (0, 0, 0, _INDENT)))
            return
        for line in text.split("\n"):
            self._print(Text(" " * _INDENT) + line)

    def field(self, name: str, value: str) -> None:
        """A named value below a row; a long one wraps below itself."""
        if self.live:
            grid = Table.grid(padding=(0, 2, 0, 0))
            grid.add_column(width=_INDENT + 8, justify="right", style="dim")
            grid.add_column(overflow="fold")
            grid.add_row(name, Text(value))
            self._print(grid)
            return
        for number, line in enumerate(value.splitlines() or [""]):
            self._print(Text(f"{name if number == 0 else '':>{_INDENT + 8}}  {line}"))

    def table(self, table: Table) -> None:
        """A table, as wide as it needs to be where nobody watches."""
        self.console.print(table, width=None if self.live else 120)

    def close(self) -> None:
        """Everything has been said."""
        with contextlib.suppress(BrokenPipeError):
            self._out.close()


def _is_live(is_terminal: bool) -> bool:
    dumb = os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")
    return is_terminal and not dumb and not os.environ.get("CI")
