"""The way back of the models: a new configuration is started, taken back, and everything is asked again."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

import httpx

from harness.checks import inference, processes, smoke
from harness.checks.base import Check, Effect, check
from harness.checks.endpoint import WITHIN, Endpoint
from harness.checks.verification import asked_again
from harness.errors import DeadlineExceeded, NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["instant_taken_back"]

_STEP = 256
"""llama.cpp's server rounds a context length up to a multiple of this."""


@runtime_checkable
class Reconfigured(Protocol):
    """A provider of a model that keeps the configuration before the one in use."""

    def in_use(self) -> str:
        """Digest of the configuration that the running engine was started with."""
        ...

    def previous(self) -> str:
        """Digest of the configuration that is kept; empty: none."""
        ...

    def reconfigure(self, context_tokens: int) -> str:
        """Start the model with another context length, as a new release would; its digest."""
        ...

    def roll_back(self) -> None:
        """Start the model with the configuration before this one."""
        ...

    def kept(self) -> tuple[str, tuple[str, ...]]:
        """Digest of the kept configuration (empty: none), and the files that are missing to start it."""
        ...

    def keep(self, previous: str) -> None:
        """Keep the configuration ``previous`` (empty: none), and no other."""
        ...


@check("rollback.inference", component="instant")
def instant_kept(stack: Stack) -> Evidence:
    """The model configuration before the one in use is kept on its host, with all that it starts with."""
    digest, missing = _provider(stack).kept()
    expected = "the configuration before this one, to go back to"
    where = f"the kept configuration of the instant model on {stack.processes.place('instant').machine}"
    if not digest:
        remedy = "the first release has none: deploy a second one; else see who removes files there"
        return judge("", [Finding(expected, "none is kept", where, remedy)])
    remedy = "it cannot be started: deploy the previous release again instead; see who removes files there"
    findings = [Finding(expected, f"{digest} lacks {file}", where, remedy) for file in missing]
    return judge(f"configuration {digest} is kept, whole, and can be started again", findings)


def _provider(stack: Stack) -> Reconfigured:
    provider = stack.provider("instant")
    if not isinstance(provider, Reconfigured):
        raise NoProvider("nothing keeps the instant model's previous configuration here yet")
    return provider


@check(
    "rollback.instant",
    component="instant",
    needs=("supabase", "thinking", "gateway", "web"),
    effect=Effect.DISTURBS,
    within=WITHIN,
)
def instant_taken_back(stack: Stack) -> Evidence:
    """A new configuration of the instant model is taken back in time; then all of it holds as before."""
    provider = _provider(stack)
    before, kept = provider.in_use(), provider.previous()
    endpoint = Endpoint.of(stack, "instant")
    try:
        tried = provider.reconfigure(_another_length(endpoint.context_tokens))
        findings = _is_new(stack, endpoint, before)
        started = time.monotonic()
        provider.roll_back()
        findings += _serves_again(stack, provider, endpoint, before)
        seconds = time.monotonic() - started
    finally:
        if provider.in_use() != before:
            stack.provider("instant").deploy(lambda _: None)
        provider.keep(kept)
    holding = asked_again(stack, _everything())
    summary = (
        f"configuration {tried} taken back to {before} in {seconds:.1f} s; then {holding.count} checks hold"
    )
    found = [*findings, *holding.findings]
    return judge(summary, found, seconds=round(seconds, 2), checks=holding.names)


def _another_length(context_tokens: int) -> int:
    half = context_tokens // 2 // _STEP * _STEP
    return half if half >= _STEP else context_tokens * 2


def _everything() -> list[Check]:
    asked = (
        inference.served_model,
        inference.answers,
        inference.golden_answer,
        inference.streams,
        inference.key_required,
        processes.key_hidden,
        processes.weights,
    )
    return [*(questions["instant"] for questions in asked), smoke.conversation]


def _is_new(stack: Stack, endpoint: Endpoint, before: str) -> list[Finding]:
    """Without this, nothing would have been taken back: the new configuration really served."""
    if inference.served_model["instant"](stack).findings:
        return []
    expected = f"another context length than that of {before}"
    return [Finding(expected, "the same", f"{endpoint.url}/v1/models", "is the new one started at all?")]


def _serves_again(stack: Stack, provider: Reconfigured, endpoint: Endpoint, before: str) -> list[Finding]:
    limit = stack.environment.instant.recover_within_seconds
    try:
        wait_until(
            "the configuration before",
            lambda: (
                endpoint.chat("?", 1, within=endpoint.answer_within).status_code == 200
                and provider.in_use() == before
            ),
            seconds=limit,
            errors=(httpx.TransportError,),
        )
    except DeadlineExceeded as error:
        where = f"{endpoint.url}: {provider.in_use() or 'nothing'} is in use"
        remedy = "the configuration before is gone, or does not start: look at the machine's journal"
        return [Finding(f"{before} serves within {limit:g} s", error.last_seen, where, remedy)]
    return []
