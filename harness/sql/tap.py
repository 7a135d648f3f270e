"""What a test said in the Test Anything Protocol (version 12, as pgTAP writes it), and whether it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

__all__ = ["Assertion", "TapResult", "read_tap"]

_PLAN = re.compile(r"^1\.\.(?P<count>\d+)\s*(?:#\s*skip\b:?\s*(?P<skip>.*))?$", re.IGNORECASE)
_LINE = re.compile(r"^(?P<word>not ok|ok)\b\s*(?P<number>\d+)?\s*(?:-\s*)?(?P<rest>.*)$", re.DOTALL)
_DIRECTIVE = re.compile(r"(?<!\\)#\s*(?P<word>todo|skip)\b:?\s*(?P<reason>.*)$", re.IGNORECASE | re.DOTALL)
_BAIL = re.compile(r"^Bail out!\s*(?P<reason>.*)$", re.IGNORECASE)


@dataclass
class Assertion:
    """One line `ok` or `not ok`; ``at`` is whatever the reader was told about where it comes from."""

    number: int
    ok: bool
    description: str
    directive: str = ""
    """todo, skip or nothing."""
    reason: str = ""
    at: int = 0
    diagnostics: list[str] = field(default_factory=list)


@dataclass
class TapResult:
    """Everything that one test file said."""

    planned: int | None = None
    plans: int = 0
    skipped: str | None = None
    """The reason, when the plan is to skip everything."""
    bailed: str | None = None
    assertions: list[Assertion] = field(default_factory=list)

    @property
    def failures(self) -> list[Assertion]:
        """What is not ok and not excused by a todo."""
        return [a for a in self.assertions if not a.ok and a.directive != "todo"]

    @property
    def todo(self) -> list[Assertion]:
        """What is known not to hold yet; an `ok` among them holds already."""
        return [a for a in self.assertions if a.directive == "todo"]

    def flaws(self) -> Iterator[tuple[str, str]]:
        """Expected and observed, for whatever but a failed assertion keeps this from being a pass."""
        if self.bailed is not None:
            yield "the test runs to its end", f"it bailed out: {self.bailed or 'without a reason'}"
            return
        if self.skipped is not None or self.planned == 0:
            yield "tests that run", f"all are skipped: {self.skipped or 'the plan is for none'}"
            return
        yield from self._count()
        for assertion in self.assertions:
            if assertion.directive == "skip":
                what = f"{assertion.number} is skipped: {assertion.reason or assertion.description}"
                yield "tests that run", what
        numbers = [a.number for a in self.assertions]
        if numbers != list(range(1, len(numbers) + 1)):
            yield "tests numbered 1, 2, 3 …", f"they are numbered {', '.join(map(str, numbers[:20]))}"

    def _count(self) -> Iterator[tuple[str, str]]:
        ran = len(self.assertions)
        if self.planned is None:
            yield "a plan: plan(n), or no_plan() and finish()", f"no plan, and {ran} tests"
        elif self.plans > 1:
            yield "one plan", f"{self.plans} plans"
        elif self.planned != ran:
            yield f"{self.planned} tests, as planned", f"{ran} tests"


def read_tap(lines: Iterable[tuple[str, int]]) -> TapResult:
    """Read lines, each with the number of the line in the test file that wrote it.

    What is none of TAP's lines is not looked at, as the protocol wants it.
    """
    result = TapResult()
    for line, at in lines:
        if match := _BAIL.match(line):
            result.bailed = match["reason"].strip()
            break
        if match := _PLAN.match(line):
            result.planned, result.plans = int(match["count"]), result.plans + 1
            result.skipped = match["skip"] if match["skip"] is not None else result.skipped
        elif match := _LINE.match(line):
            result.assertions.append(_assertion(match, at, len(result.assertions) + 1))
        elif line.startswith("#") and result.assertions:
            result.assertions[-1].diagnostics.append(line.lstrip("# ").rstrip())
    return result


def _assertion(match: re.Match[str], at: int, next_number: int) -> Assertion:
    rest = match["rest"]
    directive = _DIRECTIVE.search(rest)
    description = (rest[: directive.start()] if directive else rest).strip()
    word = directive["word"].lower() if directive else ""
    reason = directive["reason"].strip() if directive else ""
    number = int(match["number"]) if match["number"] else next_number
    return Assertion(number, match["word"] == "ok", description, word, reason, at)
