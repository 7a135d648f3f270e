"""What a terminal is told is text, never an instruction: evidence, files and logs can hold escape sequences
that would move the cursor, hide a line or retitle the window.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

__all__ = ["PlainConsole", "plain"]

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_SHOWN = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}  # their own pictures
_SHOWN |= {0x7F: 0x2421}
_SHOWN |= {code: ord(_UNKNOWN) for code in range(0x80, 0xA0)}  # C1: 0x9b alone begins a sequence
_TURNS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029)
_SHOWN |= {code: ord(_UNKNOWN) for code in _TURNS}  # what makes text read in another order than it is


def plain(text: str) -> str:
    """``text`` with every control character but line feed and tab as a picture of itself."""
    return text.translate(_SHOWN)


class PlainConsole(Console):
    """A console on which only the console itself controls the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Every segment of ``renderable``, plain unless it is a control of the console's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)
