"""llama.cpp's own server (from the xllamacpp wheel), configured by a file.

``python -m inference.llamacpp_server --config FILE [--port PORT]``. The key comes from the environment
variable INFERENCE_API_KEY, never from an argument. SIGTERM and SIGINT end it.

The token cap: ``n_predict`` is only a default in this server, and a negative ``max_tokens`` means "no
limit". What does bound every request is the context of its slot: with context shift off, generation ends
when prompt and answer together fill it. So the declared ``context_tokens`` is given to each slot, unified
cache off, and nothing can raise it per request.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import xllamacpp
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["Configuration", "parameters"]

KEY_VARIABLE = "INFERENCE_API_KEY"
Positive = Annotated[int, Field(ge=1)]


class Configuration(BaseModel):
    """What the configuration file may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    """The GGUF file."""
    name: str
    """The id that /v1/models shows."""
    context_tokens: Annotated[int, Field(ge=256, multiple_of=256)]
    """Prompt plus answer of one request, at most. The server would round anything else up, quietly."""
    parallel: Positive
    """Requests decoded at the same time; each has a context of its own."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads that decode; 0: half of the cores, because a second engine and everything else share them."""
    batch_tokens: Positive = 64
    """Prompt tokens computed in one go; between two goes, the other requests get their next token."""
    cache_mib: int = 256
    """Memory for prompts that were seen before, at most."""
    idle_timeout_seconds: Positive = 120
    """A connection on which nothing moves is closed after this."""


def parameters(configuration: Configuration, key: str) -> xllamacpp.CommonParams:
    """The server's parameters: the token cap per slot, the key on everything but /health, no extras."""
    made = xllamacpp.CommonParams()
    made.model.path = str(configuration.model)
    made.model_alias = {configuration.name}
    made.n_parallel = configuration.parallel
    made.n_ctx = configuration.context_tokens * configuration.parallel
    made.kv_unified = False  # else one request could use the context of all slots
    made.ctx_shift = False  # else generation would never end
    made.fit_params = False  # else a small memory would shrink the context quietly
    made.hostnames = [configuration.host]
    made.port = configuration.port
    made.api_keys = [key]
    made.cpuparams.n_threads = configuration.threads or max(1, (os.cpu_count() or 2) // 2)
    made.cpuparams.poll = 0  # sleep at a barrier: spinning threads of two engines starve each other
    made.n_batch = made.n_ubatch = configuration.batch_tokens
    made.cache_ram_mib = configuration.cache_mib
    made.slot_prompt_similarity = 0.5  # else a template in common is enough, and a prompt is lost
    made.timeout_read = made.timeout_write = configuration.idle_timeout_seconds
    made.endpoint_slots = False  # it would show other users' prompts
    made.endpoint_metrics = True
    made.ui = False
    return made


def load(path: Path, port: int | None) -> Configuration:
    """The configuration in the file at ``path``; ``port`` replaces its port."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Configuration.model_validate(document if port is None else {**document, "port": port})


def main() -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description="Serve a GGUF model with llama.cpp's server.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    key = os.environ.pop(KEY_VARIABLE, "")
    if not key:
        sys.exit(f"{KEY_VARIABLE} is not set")
    try:
        configuration = load(arguments.config, arguments.port)
    except (OSError, ValidationError, yaml.YAMLError) as error:
        sys.exit(f"{arguments.config}: {error}")
    # before the server starts its threads, so that they inherit it and the signal comes to us
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        server = xllamacpp.Server(parameters(configuration, key))
    except RuntimeError as error:  # the server has logged why
        sys.exit(f"cannot serve {configuration.model} on port {configuration.port}: {error}")
    sys.stderr.write(f"serving {configuration.name} on {server.listening_address}\n")
    sys.stderr.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # the kernel frees it all at once; joining busy decoding threads takes seconds


if __name__ == "__main__":
    sys.exit(main())
