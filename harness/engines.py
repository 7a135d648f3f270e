"""What engines can do and how they differ: data, so that no check asks which engine it talks to.

An engine serves the OpenAI-compatible API. Beyond that they disagree: where the context length stands, what
happens to a ``max_tokens`` that does not fit, which paths are open. The checks read those from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ENGINES", "Engine"]

Model = Mapping[str, Any]
"""One entry of /v1/models."""


@dataclass(frozen=True)
class Engine:
    """How one engine says and does things.

    ``context_of`` finds the context length of one request in an entry of /v1/models; None: it does not say.
    ``maps_weights``: the weights file stays mapped into its memory; otherwise it names, as ``root`` of the
    model in /v1/models, the directory that it has loaded, and that holds a manifest.json.
    ``open_paths`` may answer without a key; ``guarded_paths`` exist besides /v1 and must not.
    ``refuses_excess`` says whether a ``max_tokens`` beyond the context is refused (400), or shortened.
    """

    name: str
    context_of: Callable[[Model], int | None]
    maps_weights: bool
    open_paths: tuple[str, ...]
    guarded_paths: tuple[str, ...]
    refuses_excess: bool


def _llamacpp_context(model: Model) -> int | None:
    value = model.get("meta", {}).get("n_ctx")
    return int(value) if value else None


def _openai_context(model: Model) -> int | None:
    value = model.get("max_model_len")
    return int(value) if value else None


def _either(model: Model) -> int | None:
    return _openai_context(model) or _llamacpp_context(model)


ENGINES = {
    "llamacpp": Engine(
        name="llamacpp",
        context_of=_llamacpp_context,
        maps_weights=True,
        open_paths=("/health", "/v1/health"),
        guarded_paths=("/metrics", "/props", "/slots", "/tokenize", "/completion", "/apply-template"),
        refuses_excess=False,
    ),
    "vllm": Engine(
        name="vllm",
        context_of=_openai_context,
        maps_weights=False,
        open_paths=("/health",),
        guarded_paths=("/metrics", "/invocations", "/tokenize", "/docs", "/version", "/load", "/pause"),
        refuses_excess=True,
    ),
    "url": Engine(
        name="url",
        context_of=_either,
        maps_weights=False,
        open_paths=("/health",),
        guarded_paths=("/metrics", "/invocations", "/tokenize"),
        refuses_excess=False,
    ),
}
"""By the name that an environment file uses for them."""
