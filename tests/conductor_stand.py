"""Fake providers and checks, and a listener that remembers: what the conductor is tested with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from harness.asking import Question
from harness.checks.base import Check, Effect
from harness.conductor import ComponentRecord, Conductor
from harness.evidence import Evidence, holds
from harness.providers.base import Deployment, Plan, Progress
from harness.secrets import SecretStore
from harness.stack import Stack

SOON = 5.0  # a barrier that is not passed within this was never going to be


class FakeProvider:
    def __init__(
        self, component: str, deploy: Callable[[Progress], Deployment], drift: tuple[str, ...] = ()
    ):
        self.component, self._deploy, self._drift = component, deploy, drift

    def plan(self) -> Plan:
        return Plan(self.component, f"sha256:{self.component}", self._drift)

    def deploy(self, progress: Progress) -> Deployment:
        return self._deploy(progress)


class Listener:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.lock = threading.Lock()

    def note(self, event: str) -> None:
        with self.lock:
            self.events.append(event)

    def component_progress(self, component: str, phase: str) -> None:
        self.note(f"{component}: {phase}")

    def component_done(self, record: ComponentRecord) -> None:
        self.note(f"{record.component} done")

    def asked(self, check: str) -> None:
        self.note(f"{check} asked")

    def answered(self, evidence: Evidence) -> None:
        self.note(f"{evidence.check} answered")


def deployed(component: str, *changes: str) -> Callable[[Progress], Deployment]:
    return lambda _: Deployment(component, f"sha256:{component}", changes)


class _Environment:
    """Just enough of an environment to name the provider that is missing."""

    class web:
        provider = "vercel"


def stack_in(tmp_path: Path) -> Stack:
    """A stack of four fake components."""
    made = Stack(tmp_path, tmp_path, _Environment(), SecretStore(tmp_path, tmp_path))
    for component in ("supabase", "instant", "thinking", "gateway"):
        made.providers[component] = FakeProvider(component, deployed(component))
    return made


def question(
    function: Callable[[Stack], Evidence], name: str = "", effect: Effect = Effect.READS, **options: object
) -> Question:
    needs = options.pop("needs", ("supabase",))
    name = name or function.__name__
    return Question(Check(name, needs[0], needs, effect, function, **options))


def ran(stack: Stack, *questions: Question, verify_only: bool = False) -> tuple[Conductor, Listener]:
    listener = Listener()
    conductor = Conductor(stack, listener, verify_only=verify_only)
    conductor.begin([], questions)
    for asked in questions:
        conductor.answer(asked)
    return conductor, listener


def fine(_: Stack) -> Evidence:
    return holds("seen")
