"""What a terminal is told is text, never an instruction: evidence, files and logs can hold escape sequences
that would move the cursor, hide a line or retitle the window.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from harness.visible import visible

__all__ = ["PlainConsole"]


class PlainConsole(Console):
    """A console on which only the console itself controls the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Every segment of ``renderable``, visible unless it is a control of the console's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
