"""The two inference components: the instant GPU and the serverless thinking GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.environment.base import Host, Port, Positive, SecretReference, Strict, Url
from harness.environment.machines import MachineName

__all__ = [
    "Instant",
    "LocalInstant",
    "LocalThinking",
    "ModalThinking",
    "PodInstant",
    "RunpodThinking",
    "Thinking",
]

Seconds = Annotated[float, Field(gt=0, strict=False)]


class Model(Strict):
    """A model as it must be served."""

    name: str
    """Exact id that /v1/models must show."""
    context_tokens: Positive
    """Tokens that one request may have in all; the engine must be told the same."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the weights file, or of the manifest of a sharded model."""


class _Inference(Strict):
    url: Url
    """Base URL; the OpenAI-compatible API is below it at /v1."""
    model: Model
    """What must be served."""
    api_key: SecretReference
    """Bearer key that the engine demands."""
    answer_within_seconds: Seconds = 10.0
    """A one-token chat must be answered within this; longer means hung."""
    recover_within_seconds: Seconds = 15.0
    """A killed worker must answer again within this."""


_SLOW_START: dict[str, Any] = {
    "answer_within_seconds": 30.0,
    "recover_within_seconds": 180.0,
    "serverless": {"idle_seconds": 30.0, "cold_start_budget_seconds": 240.0},
}
"""What is patient enough for vLLM on a CPU, which loads for a minute; taken where nothing is said."""


class _Local(_Inference):
    @model_validator(mode="before")
    @classmethod
    def _patience(cls, data: Any) -> Any:
        """One line, `engine: vllm`, is enough: times that are not given follow from the engine."""
        if not isinstance(data, Mapping) or data.get("engine") != "vllm":
            return data
        made = {**{name: value for name, value in _SLOW_START.items() if name in cls.model_fields}, **data}
        if isinstance(data.get("serverless"), Mapping):
            made["serverless"] = {**_SLOW_START["serverless"], **data["serverless"]}
        return made

    @model_validator(mode="after")
    def _context(self) -> Self:
        """llama.cpp's server rounds up, quietly: the cap would not be what is declared."""
        if getattr(self, "engine", "") == "llamacpp" and self.model.context_tokens % 256:
            raise ValueError("model.context_tokens must be a multiple of 256 for the engine llamacpp")
        return self


class LocalInstant(_Local):
    """The engine under the local process manager."""

    provider: Literal["local"]
    engine: Literal["llamacpp", "vllm", "url"] = "llamacpp"
    """llamacpp: llama.cpp's server on the CPU; vllm: vLLM on the CPU; url: a server that runs elsewhere."""
    port: Port = 8001
    """Loopback port of the engine; that of `url`."""
    concurrency: Positive = 4
    """Requests decoded at the same time; each has the whole context."""


class PodInstant(_Inference):
    """An inference engine under a systemd unit on a GPU machine, reached over ssh."""

    provider: Literal["pod"]
    engine: Literal["vllm", "llamacpp"] = "vllm"
    """The server that the unit runs."""
    host: MachineName
    """The GPU machine (a name from `machines.hosts`)."""
    concurrency: Positive = 4
    """Requests decoded at the same time; each has the whole context."""
    gpu: str
    """Name of the GPU as nvidia-smi prints it."""
    vram_mib: Positive
    """Least memory of the GPU, in MiB."""


Instant = Annotated[LocalInstant | PodInstant, Field(discriminator="provider")]


class Serverless(Strict):
    """What the serverless platform is told, and held to."""

    idle_seconds: Seconds
    """A worker without work is stopped after this."""
    max_workers: Positive
    """Most workers at a time: with the price of one, this caps what an hour can cost."""
    concurrency: Positive
    """Requests in flight on one worker."""
    execution_timeout_seconds: Seconds
    """A request that takes longer is ended."""
    cold_start_budget_seconds: Seconds
    """From zero workers, the first token must come within this."""


class LocalServerless(Serverless):
    """The same, with times for a small model on a CPU."""

    idle_seconds: Seconds = 3.0
    """A worker without work is stopped after this; by default 3, with vLLM 30."""
    cold_start_budget_seconds: Seconds = 10.0
    """From zero workers, the first token must come within this; by default 10, with vLLM 240."""


class LocalThinking(_Local):
    """The local serverless platform: a real worker that is started on demand and stopped when idle."""

    provider: Literal["local"]
    engine: Literal["llamacpp", "vllm", "url"] = "llamacpp"
    """As for the instant model; url: an endpoint that runs elsewhere."""
    port: Port = 8002
    """Port of the platform; that of `url`."""
    bind: Host = "127.0.0.1"
    """Address that it listens on. Not loopback: gateways on other machines reach it there."""
    serverless: LocalServerless
    """What the platform is told, and held to."""


class _Endpoint(_Inference):
    endpoint_id: str
    """Id of the endpoint on the platform."""
    gpu: str
    """GPU type that workers must have."""
    serverless: Serverless
    """What the platform is told, and held to."""
    usd_per_hour_cap: Annotated[float, Field(gt=0, strict=False)]
    """Most that all workers together may cost in an hour."""
    token: SecretReference
    """Access token of the platform."""
    management_url: Url
    """The platform's API."""


class RunpodThinking(_Endpoint):
    """A serverless endpoint of RunPod."""

    provider: Literal["runpod"]
    jobs_url: Url = "https://api.runpod.ai/v2"
    """RunPod's API for jobs, which counts those of the endpoint."""
    workers_url: Url = "https://api.runpod.io/v2/serverless"
    """RunPod's REST API, version 2, which counts the workers."""
    account_url: Url = "https://api.runpod.io/graphql"
    """RunPod's GraphQL API, which knows the account's spending limit."""


class ModalThinking(_Endpoint):
    """A function of Modal."""

    provider: Literal["modal"]


Thinking = Annotated[LocalThinking | RunpodThinking | ModalThinking, Field(discriminator="provider")]
