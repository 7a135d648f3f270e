"""One run's way through the gate: asked before anything is touched, used once, and left with evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.attestation.keys import Signer
from harness.environment.loader import Loaded
from harness.errors import ConfigurationError, HarnessError, Problem
from harness.history import own_key, own_signer
from harness.invocation import arguments, foreign
from harness.ledger import Ledger
from harness.promotion import Promotion, in_hand, not_this_tree
from harness.reentry import Reentry
from harness.release import Release
from harness.secrets import redact, redact_tree
from harness.sinks.attestation import RunFacts, write_evidence
from harness.sinks.decision_page import render
from harness.sinks.files import earlier_runs
from harness.stack import Stack
from harness.store import open_store

__all__ = ["Passage"]


class Passage:
    """What pytest's run delegates to: the gate in front of it, the evidence behind it."""

    def __init__(self, config: pytest.Config, stack: Stack, loaded: Loaded) -> None:
        """Know the release; touches nothing. ``loaded`` is the environment of ``stack``.

        Raises:
            HarnessError: when --release names none.
        """
        self._option, self._stack, self._loaded = config.option, stack, loaded
        self._config, self._foreign = config, foreign(config)  # a plug-in may leave before the end
        self._touches = not (config.option.verify_only or config.option.plan or config.option.collectonly)
        self.release, self._passed_over = in_hand(stack.root, config.option.release)
        stack.release = self.release
        self._promotion: Promotion | None = None
        self._entered = self._turned_away = False
        self.evidence = ""
        """Where the evidence of the run is, when it has been written."""

    def problems(self) -> list[Problem]:
        """Every reason why the release may not enter; none for a run that touches nothing."""
        environment = self._stack.environment
        if not self._touches:
            return []
        try:
            store = open_store(environment, self._stack.root, self._stack.secrets)
            about = (environment, self._stack.root, store, self.release)
            if self._option.rollback:
                self._promotion = Reentry(*about, key=own_key(environment, self._stack.secrets))
            else:
                self._promotion = Promotion(*about, self._option.evidence, self._option.approval)
            self._promotion.file = self._loaded.content
            self._promotion.passed_over = self._passed_over
            return list(self._promotion.decide().reasons)
        except ConfigurationError as error:
            return list(error.problems)
        except HarnessError as error:
            return [Problem("gate", str(error))]

    def enter(self) -> None:
        """Use the promotion; the last thing before something is deployed.

        Raises:
            HarnessError: when the gate has closed meanwhile, or another run was faster.
        """
        try:
            if self._promotion is not None:
                self._promotion.claim(self._signer())
        except HarnessError:
            self._turned_away = True
            raise
        self._entered = True

    def changes(self) -> list[str]:
        """A trouble when the tree is not the release any more: what is signed must be what was proven."""
        if not self._entered:
            return []
        tree = Release.build(self._stack.root)
        return [f"the tree changed during the run: {line}" for line in not_this_tree(self.release, tree)]

    def overrides(self) -> list[str]:
        """Everything about the run that is not as the tree says: settings, options, plug-ins."""
        return list(dict.fromkeys([*self._option.set, *self._foreign, *foreign(self._config)]))

    def end(self, ledger: Ledger) -> str:
        """Write down how the promotion ended; what went wrong with that, or nothing.

        Before the evidence is signed: a run that is no pass because of this must not be called one there.
        """
        try:
            if self._promotion is not None and self._entered:
                self._promotion.finish(str(ledger.decision))
        except (HarnessError, OSError) as error:
            return f"the end of the promotion could not be written down: {error}"
        return ""

    def leave(self, ledger: Ledger) -> str:
        """Write the evidence of the run; what went wrong with that, or nothing. No evidence, no pass.

        Whoever was turned away at the gate has touched nothing and leaves none: it would say of the release
        that it failed here, while another run is deploying it.
        """
        if self._turned_away:
            return ""
        try:
            self.evidence = self._write(ledger)
        except (HarnessError, OSError) as error:
            return f"the evidence could not be written: {error}"
        return ""

    # --- inside ----------------------------------------------------------------------------------

    def _signer(self) -> Signer:
        return own_signer(self._stack.environment, self._stack.secrets)

    def _write(self, ledger: Ledger) -> str:
        stack = self._stack
        run = redact_tree(ledger.as_dict())
        page = redact(render(run, earlier_runs(stack.state, ledger.run_id))).encode()
        facts = RunFacts(
            stack.environment,
            self.release,
            Path(stack.root),
            self._loaded.content,
            tuple(ledger.overrides),
            arguments(self._config),
        )
        store = open_store(stack.environment, stack.root, stack.secrets)
        return write_evidence(ledger, facts, page, self._signer(), store)
