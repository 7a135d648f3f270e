"""What a person watches: live progress while the stack comes up, a line a scenario, then the verdict.

On a terminal: colours, a spinner a component, a progress bar. Anywhere else (a file, a pipe, CI): the same
words as plain lines without control characters.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from harness.conductor import ComponentRecord
from harness.environment import Environment
from harness.evidence import Evidence, Finding, Verdict
from harness.ledger import Decision, Ledger, NotRun, ScenarioRecord
from harness.providers.base import Plan
from harness.sinks.screen import Screen
from harness.waivers import told as waiver_told

__all__ = ["Terminal"]

_STYLE = {
    Verdict.HOLDS: "green",
    Verdict.REFUTED: "bold red",
    Verdict.UNREACHABLE: "bold magenta",
    Verdict.BLOCKED: "yellow",
    Verdict.WAIVED: "cyan",
}
_DECISION = {
    Decision.GO: ("bold white on green", "this release may be promoted"),
    Decision.VERIFIED: (
        "bold black on cyan",
        "as declared, nothing was changed; no ground for a promotion",
    ),
    Decision.NO_GO: ("bold white on red", "do not promote"),
}
_UNTOLD = ("waits", "deploying", "comparing")  # phases that plain lines need not tell
_LATE = 2.0  # seconds after which an outstanding check is named


class Terminal:
    """Implements :class:`harness.conductor.Listener`; called from several threads."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        if config.option.verbose == 0 and not config.option.collectonly:
            config.option.verbose = -2  # no header, no counts: ours say more
        self.screen = Screen()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._phases: dict[str, tuple[str, float]] = {}
        self._done: set[str] = set()
        self._asked: dict[str, float] = {}
        self._answered = self._questions = 0
        self._feature = ""
        self._live: Live | None = None
        self._spinner = Spinner("dots" if self.screen.unicode else "line", style="cyan")

    # --- the run ---------------------------------------------------------------------------------

    def begin(self, ledger: Ledger, environment: Environment, questions: int) -> None:
        """Say what is about to happen; ``questions`` is how many will be asked."""
        reporter: Any = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:  # pytest only counts; its own lines would repeat ours
            reporter.showfspath = False
            reporter._show_progress_info = False
        self._config.option.no_summary = True
        self._questions = questions
        doing = "verifying, changing nothing" if ledger.verify_only else "deploying and proving"
        if self._config.option.plan:
            doing = "planning, changing nothing"
        heading = ((environment.environment, "bold"), f"  {environment.description}; {doing}")
        self.screen.line(Text.assemble(*heading))
        for waiver in environment.waivers:
            self.screen.row("waived", "cyan", "waived", Text(waiver_told(waiver)))
        self._elsewhere(ledger.not_applicable, environment)
        if self.screen.live and not self._config.option.plan:
            self._live = Live(
                get_renderable=self._progress,
                console=self.screen.console,
                transient=True,
                refresh_per_second=8,
            )
            self._live.start(refresh=True)

    def _elsewhere(self, entries: list[NotRun], environment: Environment) -> None:
        """Each item that the environment rules out with its reason, then what is for others; counted."""
        ruled_out = environment.not_applicable
        groups = Counter((e.item if e.item in ruled_out else "", e.reason) for e in entries)
        for (item, reason), count in sorted(groups.items(), key=lambda group: not group[0][0]):
            noun = "scenario does" if count == 1 else "scenarios do"
            self.screen.row("none", "dim", item, Text(f"{count} {noun} not apply here: {reason}", "dim"))

    def plans(self, plans: list[Plan]) -> None:
        """Print what a deploy would change."""
        for plan in plans:
            digest = Text(plan.digest[:19], "dim")
            text = "unchanged" if plan.unchanged else "would change:"
            self.screen.row("holds" if plan.unchanged else "waived", "", plan.component, Text(text), digest)
            for change in plan.changes:
                self.screen.detail(Text(f"{self.screen.bullet} {change}"))

    def stop(self) -> None:
        """End the live display, whatever has happened."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    # --- Listener --------------------------------------------------------------------------------

    def component_progress(self, component: str, phase: str) -> None:
        """``component`` is now at ``phase``."""
        with self._lock:
            before, since = self._phases.get(component, ("", time.monotonic()))
            self._phases[component] = (phase, since)
        if before != phase and not self.screen.live and not phase.startswith(_UNTOLD):
            self.screen.row("busy", "", component, Text(phase))

    def component_done(self, record: ComponentRecord) -> None:
        """The deployment of a component has ended."""
        with self._lock:
            self._done.add(record.component)
        text = Text(record.summary, "" if record.changes or record.reason else "dim")
        tail = Text(f"{record.seconds:.1f} s", "dim")
        self.screen.row(record.verdict, _STYLE[record.verdict], record.component, text, tail)
        for line in record.reason.splitlines()[1:]:
            self.screen.detail(Text(line.strip()))

    def asked(self, check: str) -> None:
        """A check is being asked now."""
        with self._lock:
            self._asked[check] = time.monotonic()

    def answered(self, evidence: Evidence) -> None:
        """A question has been answered."""
        with self._lock:
            self._answered += 1
            self._asked.pop(evidence.check, None)

    def _progress(self) -> RenderableType:
        now = time.monotonic()
        rows = Table.grid(padding=(0, 1))
        with self._lock:
            for component, (phase, since) in self._phases.items():
                if component not in self._done:
                    waits = phase.startswith("waits")
                    icon = Text(" ") if waits else self._spinner
                    style = "dim" if waits else ""
                    seconds = Text("" if waits else f"{now - since:.0f} s", "dim")
                    rows.add_row(
                        Text(" "), icon, Text(f"{component:<9}", "bold"), Text(phase, style), seconds
                    )
            counted = f"{self._answered} of {self._questions} checks answered, {now - self._started:.0f} s"
            late = [f"{check} {now - at:.0f} s" for check, at in self._asked.items() if now - at > _LATE]
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(self._questions, 1), completed=self._answered, width=24)
        line.add_row(Text(" "), bar, Text(counted))
        waiting = Text(f"  waiting for {', '.join(late[:3])}" if late else "", "dim", overflow="ellipsis")
        return Group(Text(), rows, line, *([waiting] if late else []))

    # --- results ---------------------------------------------------------------------------------

    def scenario(self, record: ScenarioRecord) -> None:
        """One line a scenario; everything there is to know when it does not simply hold."""
        if record.feature != self._feature:
            self._feature = record.feature
            self.screen.line(Text())
            self.screen.line(Text(record.feature, "bold"))
        style = _STYLE[record.verdict]
        tail = Text(f"{record.seconds:.2f} s", "dim")
        self.screen.row(record.verdict, style, ",".join(record.items), Text(record.title), tail)
        if record.verdict is Verdict.HOLDS:
            return
        told = [evidence for evidence in record.evidence if evidence.verdict is not Verdict.HOLDS]
        seen = {evidence.verdict for evidence in told}
        if record.verdict not in seen or seen == {Verdict.BLOCKED}:  # a deployment, or the step itself
            self.screen.detail(Text(record.message, style))
            told = [evidence for evidence in told if evidence.verdict is not Verdict.BLOCKED]
        for evidence in told:
            verdict = (str(evidence.verdict), _STYLE[evidence.verdict])
            self.screen.detail(Text.assemble(verdict, f": {evidence.check}: {evidence.summary}"))
            for finding in evidence.findings:
                self._finding(finding)
        self.screen.detail(Text(record.where, "dim"))

    def _finding(self, finding: Finding) -> None:
        for name, value in (
            ("expected", finding.expected),
            ("observed", finding.observed),
            ("where", finding.where),
            ("to do", finding.remedy),
        ):
            self.screen.field(name, value)

    def _not_run(self, entry: NotRun) -> None:
        text = Text(f"{entry.name}: not run: {entry.reason}", "dim")
        self.screen.row("none", "dim", entry.item, text)

    def summary(self, ledger: Ledger) -> None:
        """What was waived, a table by feature, what was not run, and why this is no pass."""
        self.stop()
        if ledger.waived:
            self.screen.line(Text())
        for waived in ledger.waived:
            self.screen.row("waived", "cyan", "waived", Text(waived))
        if ledger.scenarios:
            self.screen.line(Text())
            self.screen.table(_table(ledger))
        for entry in ledger.drills_left_out:
            self._not_run(entry)
        for override in ledger.overrides:
            self.screen.row("unreachable", "yellow", "no gate", Text(f"opens no gate: {override}"))
        if ledger.reasons:
            self.screen.line(Text())
        for reason in ledger.reasons:
            self.screen.row("refuted", "red", "", Text(reason))

    def next_steps(self, steps: Mapping[str, str]) -> None:
        """What a person may want to do now: what, and the address or command for it."""
        self.screen.line(Text())
        for what, how in steps.items():
            self.screen.line(Text.assemble((f"{what:<8} ", "dim"), how))
        self.screen.line(Text())

    def verdict(self, ledger: Ledger) -> None:
        """What was counted, and the last line: the verdict."""
        counts = [f"{ledger.count(verdict)} {verdict}" for verdict in Verdict if ledger.count(verdict)]
        counts += [f"{len(ledger.not_applicable)} not applicable"] if ledger.not_applicable else []
        not_run = len(ledger.left_out) + len(ledger.drills_left_out)
        counts += [f"{not_run} not run"] if not_run else []
        if counts:
            self.screen.line(Text(", ".join(counts), "dim"))
        style, meaning = _DECISION[ledger.decision]
        if waived := ledger.count(Verdict.WAIVED):
            meaning += f", {waived} {'scenario' if waived == 1 else 'scenarios'} only by a waiver"
        shown = f" {ledger.decision} " if self.screen.colour else str(ledger.decision)
        told, took = (f"  {ledger.environment}: {meaning}", "bold"), (f"  {ledger.seconds:.1f} s", "dim")
        self.screen.line(Text.assemble((shown, style), told, took))


def _table(ledger: Ledger) -> Table:
    verdicts = [verdict for verdict in Verdict if ledger.count(verdict)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("checklist", style="bold", overflow="fold")
    for verdict in verdicts:
        table.add_column(str(verdict), justify="right", style=_STYLE[verdict], no_wrap=True)
    table.add_column("slowest", justify="right", style="dim", no_wrap=True)
    for feature in dict.fromkeys(scenario.feature for scenario in ledger.scenarios):
        of_feature = [scenario for scenario in ledger.scenarios if scenario.feature == feature]
        counts = [sum(s.verdict is verdict for s in of_feature) for verdict in verdicts]
        slowest = max(scenario.seconds for scenario in of_feature)
        table.add_row(feature, *(str(count or "") for count in counts), f"{slowest:.1f} s")
    return table
