"""The decision page in Markdown: what a pipeline shows as the summary of a job."""

from __future__ import annotations

import re

from harness.promotion_view import View, meaning, short, waived, way_back
from harness.visible import visible

__all__ = ["markdown"]


def markdown(view: View) -> str:
    """The decision page in Markdown."""
    parts = [_decision(view), _changes(view)]
    if view.configuration:
        parts.append(["", "## Configuration", "", *_fenced("diff", "\n".join(view.configuration))])
    parts.append(["", "## If it goes wrong", "", "| Part | What to do |", "|---|---|"])
    parts.append([f"| {what} | {_plain(how)} |" for what, how in way_back(view)])
    return "\n".join(line for part in parts for line in part) + "\n"


def _decision(view: View) -> list[str]:
    title = f"# {view.verdict}: {_plain(view.release.name)} into {view.environment}"
    lines = [title, "", meaning(view), ""]
    if view.result and (listed := waived(view.result)):
        lines += ["## Accepted for now, by a waiver", ""]
        lines += [*(f"- {_plain(text)}" for text in listed), ""]
    if view.decision.reasons:
        lines += ["## " + ("What it waits for" if view.verdict == "WAITS" else "Why not"), ""]
        for reason in view.decision.reasons:
            lines.append(
                f"- {_plain(reason.what)}" + (f" *({_plain(reason.hint)})*" if reason.hint else "")
            )
        lines.append("")
    if result := view.result:
        counted = f"{len(result.passed_tests)} of {len(result.expected_tests)} tests passed"
        proven = f"{_plain(result.environment)} by run {_plain(result.run)}, by {_plain(result.by)}"
        lines += [f"Proven in {proven}, {result.finished_on}: {counted}.", ""]
    return lines


def _changes(view: View) -> list[str]:
    lines = ["## What changes", "", *(f"**{_plain(warning)}**\n" for warning in view.warnings)]
    lines += ["| Artefact | Runs there now | Would run |", "|---|---|---|"]
    for name, old, new in view.artefacts:
        shown = "unchanged" if old == new else f"`{short(old) or 'none'}`"
        lines.append(f"| {name} | {shown} | `{short(new) or 'none'}` |")
    for m in view.migrations:
        warned = [f"- destructive: {_plain(danger)}" for danger in m.dangers]
        lines += ["", f"<details><summary>{_plain(m.file)}: {m.told}</summary>", ""]
        lines += [*warned, *([""] if warned else []), *_fenced("sql", m.sql), "", "</details>"]
    return lines


def _fenced(language: str, text: str) -> list[str]:
    """A block that no line of ``text`` can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text.rstrip("\n"), fence]


def _plain(text: str) -> str:
    """Text that Markdown and HTML take as text."""
    escaped = re.sub(r"([\\`*_\[\]|])", r"\\\1", visible(" ".join(text.split())))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
