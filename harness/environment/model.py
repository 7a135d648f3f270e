"""The typed model of an environment file."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from harness.environment.base import Strict
from harness.environment.gate import Gate
from harness.environment.gateway import Gateway
from harness.environment.inference import Instant, Thinking
from harness.environment.machines import Machines
from harness.environment.supabase import Supabase
from harness.environment.web import Web

__all__ = ["COMPONENTS", "Environment", "Waiver"]

COMPONENTS = ("supabase", "instant", "thinking", "gateway", "web")
"""In the order in which they depend on each other."""


class Waiver(Strict):
    """A finding that somebody accepts until a day."""

    check: str
    """Name of the check, or an item such as GW-3."""
    reason: Annotated[str, Field(min_length=10)]
    """Why it is acceptable until then."""
    owner: Annotated[str, Field(min_length=2)]
    """Who answers for it."""
    expires: dt.date
    """The last day on which it counts; at most 90 days ahead."""
    where: Annotated[str, Field(min_length=1)] | None = None
    """Only findings at this place, as they name it (`*` stands for anything); without it, at any place."""


class Environment(Strict):
    """One environment: its five components, what does not apply to it, and what it demands."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    """Version of this format."""
    environment: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{1,30}$")]
    """Its name; that of the file."""
    description: Annotated[str, Field(min_length=1)]
    """One line for people."""
    supabase: Supabase
    instant: Instant
    thinking: Thinking
    gateway: Gateway
    web: Web
    machines: Machines | None = None
    """The machines that the providers docker, pod and host deploy to."""
    drills: bool
    """Whether checks may stop and kill things here to see the stack notice and recover."""
    not_applicable: dict[str, str] = Field(default_factory=dict)
    """Checklist item: why it cannot apply here. Printed with every run; counts as nothing."""
    waivers: tuple[Waiver, ...] = ()
    """Findings that somebody accepts until a day."""
    predecessor: str | None = None
    """The environment from which a release comes."""
    gate: Gate
    """What it demands of a release, and the key with which it speaks for itself."""
