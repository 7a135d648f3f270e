"""What the plug-in's hooks delegate to: options in, a planned and recorded run out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.environment.loader import load, preflight
from harness.errors import ConfigurationError, Problem
from harness.expectations import Expected, expected_scenarios, flaws
from harness.gherkin import read_features
from harness.ledger import Decision, Ledger
from harness.passage import Passage
from harness.planning import Planned, plan_item
from harness.providers.local.supervisor import MARKER
from harness.runlock import run_lock
from harness.session import RunSession, left_out
from harness.sinks import files, junit, sarif
from harness.sinks.allure import AllureSink
from harness.sinks.strainer import Strainer
from harness.sinks.terminal import Terminal

__all__ = ["Run"]


class Run:
    """One invocation of pytest with --env. Holds the environment's lock until pytest ends."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the environment and reach for it; touches nothing of it.

        Raises:
            HarnessError: when an option, the environment or a secret is not right, or when another run
                of this environment is going on.
        """
        _refuse_options(config)
        self.config = config
        root = Path(config.rootpath)
        loaded = load(config.option.env, root, overrides=config.option.set)
        environment = loaded.environment
        self.stack = config.hook.pytest_harness_stack(environment=environment, root=root)
        self.passage = Passage(config, self.stack, loaded)
        problems = [*preflight(environment, self.stack.secrets), *self.passage.problems()]
        if problems:
            closed = any(problem.where.startswith("gate.") for problem in problems)
            title = "cannot be entered" if closed else "is out of reach"
            raise ConfigurationError(problems, title=f"{environment.environment} {title}")
        if not config.option.collectonly:
            held = contextlib.ExitStack()
            held.enter_context(run_lock(self.stack.state))
            config.add_cleanup(held.close)
            files.require_room(self.stack.state)
        self.terminal = Terminal(config)
        self.session = RunSession(self.stack, self.terminal, verify_only=config.option.verify_only)
        self._deselected: list[pytest.Item] = []
        self._begun = False
        self._ledger: Ledger | None = None
        files.default_outputs(config, self.stack.state)
        self.allure = AllureSink(config)
        os.environ[MARKER] = str(self.stack.state)  # so that nothing this run starts can be lost
        self._strainer = None if config.option.usepdb else Strainer(config)

    # --- planning --------------------------------------------------------------------------------

    def deselected(self, items: Sequence[pytest.Item]) -> None:
        """Remember what was selected away."""
        self._deselected += items

    def plan(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """The items that run here, after everything that must be refused was refused.

        Raises:
            ConfigurationError: with all that must be refused.
        """
        features = read_features(self.stack.root / "features")
        planned = [found for item in items if (found := plan_item(item))]
        away = [found for item in self._deselected if (found := plan_item(item))]
        expected = expected_scenarios(features, self.stack.environment.environment)
        self._expect(expected, planned, away)
        known = {item for feature in features for scenario in feature.scenarios for item in scenario.items}
        markers = {
            line.partition("(")[0].partition(":")[0].strip() for line in self.config.getini("markers")
        }
        chosen = self.session.select(planned, known, flaws(features, markers))
        return [entry.item for entry in chosen]

    def refuse(self, error: ConfigurationError) -> None:
        """Write down why nothing is run."""
        self.session.ledger.troubles += [str(problem) for problem in error.problems]

    def _expect(self, expected: Expected, planned: Sequence[Planned], away: Sequence[Planned]) -> None:
        """What stands in the feature files, applies here and will not run counts as left out."""
        for entry in away:
            if expected.pop(entry.key, None):
                self.session.expect([left_out(entry, "deselected")])
        for entry in planned:
            expected.pop(entry.key, None)
        self.session.expect(expected.values())

    # --- running ---------------------------------------------------------------------------------

    def begin(self) -> bool:
        """Start deploying and asking; false when there is nothing to run (--plan)."""
        self.terminal.begin(self.session.ledger, self.stack.environment, len(self.session.questions()))
        if self.config.option.plan:
            self.terminal.plans([self.stack.provider(name).plan() for name in self.session.components()])
            return False
        self.passage.enter()
        self._begun = True
        files.write_unfinished(self.session.ledger, self.stack.state)
        self.session.begin()
        return True

    def reported(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Write down how a phase of ``item`` ended."""
        files.clean(report)
        if report.when == "call":
            record = self.session.record(item.nodeid, report)
            if report.failed:
                report.longrepr = record.message  # the evidence, not a traceback through our own code
            junit.describe(item, record)
            with self._told():
                self.allure.scenario(record)
            self.terminal.scenario(record)
        elif report.failed:
            trouble = f"{item.name}: error in {report.when}: {report.longreprtext}"
            self.session.ledger.troubles.append(trouble)

    def finish(self, exitstatus: int, failed: int) -> int:
        """Decide, write and print; returns pytest's exit status, never 0 unless the run is a pass."""
        if self.config.option.plan or self.config.option.collectonly:
            return exitstatus
        if exitstatus == pytest.ExitCode.INTERRUPTED and failed and not self._begun:
            self.session.ledger.troubles.append("the scenarios could not be collected: see the error below")
        elif exitstatus not in (0, 1) and not self.session.ledger.troubles:
            self.session.ledger.troubles.append(_EARLY.get(exitstatus, f"pytest ended with {exitstatus}"))
        self.session.ledger.troubles += self.passage.changes()
        self.session.ledger.overrides = self.passage.overrides()
        ledger = self.session.finish()
        if failed and ledger.decision is not Decision.NO_GO:
            ledger.troubles.append(f"pytest counted {failed} failures that no check explains")
        self._ledger = ledger
        with self._told():
            self._write(ledger)
        self.terminal.summary(ledger)
        if ledger.decision is Decision.GO and "web" in ledger.release:
            self.terminal.next_steps(self._next_steps())
        if ledger.decision is Decision.NO_GO and exitstatus == 0:
            return int(pytest.ExitCode.TESTS_FAILED)
        return exitstatus

    def _write(self, ledger: Ledger) -> None:
        if trouble := self.passage.end(ledger):
            ledger.troubles.append(trouble)
        files.write_run(ledger, self.stack.state)
        if trouble := self.passage.leave(ledger):
            ledger.troubles.append(trouble)
            files.write_run(ledger, self.stack.state)
        self.allure.finish(ledger)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What cannot be written is told with the verdict, which it turns: no evidence, no pass."""
        try:
            yield
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            trouble = f"what this run saw could not be written: {error.strerror}{where}"
            if self.session.ledger.troubles[-1:] != [trouble]:
                self.session.ledger.troubles.append(trouble)

    def _next_steps(self) -> dict[str, str]:
        environment = self.stack.environment
        name = environment.environment
        steps = {"open": environment.web.url, "report": f"make report ENV={name}"}
        if environment.web.provider == "local":
            steps |= {"sign in": ".venv/bin/harness sign-in alice", "stop": f"make down ENV={name}"}
        return {what: how.removesuffix(" ENV=local") for what, how in steps.items()}

    def close(self) -> None:
        """Finish what pytest and its plug-ins wrote; print the verdict, the last line of all."""
        self.terminal.stop()
        if self._strainer:
            self._strainer.close()
        self.stack.close()
        if self._ledger is not None:
            # a full disk has been told with the verdict; nothing else may end without a report
            full = (OSError, SyntaxError) if self._ledger.decision is Decision.NO_GO else ()
            with contextlib.suppress(*full):
                junit.finish(Path(self.config.option.xmlpath), self._ledger)
                sarif.write(self._ledger, self.stack.state / "findings.sarif")
                self.allure.clean()
            sys.stdout.flush()  # what pytest has said and a file has not seen yet comes before the verdict
            self.terminal.verdict(self._ledger)
        self.terminal.screen.close()


_EARLY: dict[int, str] = {
    pytest.ExitCode.INTERRUPTED: "the run was interrupted before its end",
    pytest.ExitCode.INTERNAL_ERROR: "pytest or a plug-in of it broke: see above",
    pytest.ExitCode.USAGE_ERROR: "pytest was not used as it can be: see the error below",
    pytest.ExitCode.NO_TESTS_COLLECTED: "no scenario was collected",
}


def _refuse_options(config: pytest.Config) -> None:
    """Options under which the harness cannot keep its word.

    Raises:
        ConfigurationError: naming each of them.
    """
    option: Any = config.option
    problems = []
    if getattr(option, "numprocesses", None) or getattr(option, "tx", None):
        hint = "the harness asks side by side by itself: run without it"
        problems.append(
            Problem("-n", "the scenarios of one environment cannot be spread over workers", hint)
        )
    for needed, plugin in (("xmlpath", "junitxml"), ("allure_report_dir", "allure_pytest_bdd")):
        if not hasattr(option, needed):
            what = "without it the run leaves no evidence behind"
            problems.append(Problem(f"-p no:{plugin}", what, "run without this option"))
    if problems:
        raise ConfigurationError(problems, title="options")
