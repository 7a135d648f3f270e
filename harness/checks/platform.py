"""The serverless platform of the thinking model, as checks see it: by its provider, or by its /health."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from harness.checks.endpoint import Endpoint
from harness.errors import NoProvider
from harness.stack import Stack

__all__ = ["Counts", "ServerlessControl", "control", "counts", "health"]


class ServerlessControl(Protocol):
    """What a provider of a serverless endpoint lets checks see and do."""

    def settings(self) -> Mapping[str, Any]:
        """In force: workersMin, workersMax, idleTimeout (s), executionTimeoutMs, concurrency."""
        ...

    def workers(self) -> list[int]:
        """What identifies each present worker."""
        ...

    def kill_workers(self) -> list[int]:
        """End every worker as a crash would; those that it ended."""
        ...

    def workers_paused(self) -> AbstractContextManager[list[int]]:
        """Every present worker hangs inside the block."""
        ...


@runtime_checkable
class _Controlled(Protocol):
    def control(self) -> ServerlessControl: ...


@runtime_checkable
class Counts(Protocol):
    """A provider that counts workers and jobs itself, because the endpoint's own /health does not."""

    poll_seconds: float

    def health(self) -> dict[str, Any]:
        """Workers (total) and jobs (inQueue, inProgress, completed since it exists)."""
        ...


def control(stack: Stack) -> ServerlessControl:
    """Looks into the platform of the thinking model.

    Raises:
        NoProvider: when its provider cannot.
    """
    provider = stack.provider("thinking")
    if not isinstance(provider, _Controlled):
        raise NoProvider("nothing looks into this serverless platform yet")
    return provider.control()


def counts(stack: Stack) -> Counts | None:
    """The provider of the thinking model, if it counts workers and jobs itself."""
    provider = stack.providers.get("thinking")
    return provider if isinstance(provider, Counts) else None


def health(stack: Stack, endpoint: Endpoint) -> dict[str, Any]:
    """Workers and jobs by state; asking wakes nobody."""
    if counting := counts(stack):
        return counting.health()
    answer = endpoint.client.get("/health", timeout=5.0)
    found: dict[str, Any] = answer.json()
    return found
