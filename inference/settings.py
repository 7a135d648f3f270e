"""What the local serverless platform is told; the file is written by whoever deploys it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Settings", "WorkerSettings"]

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkerSettings(_Strict):
    """How a worker is started. ``{port}`` in an argument is replaced by the port it must listen on."""

    argv: tuple[str, ...]
    key_variable: str
    """Environment variable in which a worker expects its key; each worker gets a key of its own."""
    model: str
    """Served name, for the one-token chat that tells a hung worker from a busy one."""
    environment: dict[str, str] = {}
    log: Path
    start_seconds: Seconds = 60.0
    stop_seconds: Seconds = 5.0
    probe_seconds: Seconds = 5.0
    """A worker that has let a job time out must answer a one-token chat within this, or is replaced."""


class Settings(_Strict):
    """The endpoint: what RunPod and Modal call min, max, idle, concurrency and execution timeout."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)]
    idle_seconds: Seconds
    """A worker without jobs is stopped after this. There is no minimum number of workers: it is zero."""
    max_workers: Positive
    concurrency: Positive
    """Jobs on one worker at the same time."""
    execution_timeout_seconds: Seconds
    queue_limit: Positive = 64
    """Jobs that may wait; more are refused with 429."""
    queue_seconds: Seconds = 120.0
    """A job that waits longer fails with 503."""
    worker: WorkerSettings

    @staticmethod
    def load(path: Path) -> Settings:
        """The settings in the YAML file at ``path``."""
        return Settings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
