"""How each local engine is launched: pure functions from the environment to a command and its file."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from harness.environment.inference import LocalInstant, LocalThinking

__all__ = ["Launch", "launch", "write_if_changed"]


@dataclass(frozen=True)
class Launch:
    """An engine process to be. ``{port}`` in an argument is the port it must listen on.

    ``document`` is the content of its configuration file at ``file``. ``version`` and ``sources`` are what
    it runs, for the digest. ``start_seconds`` is the deadline for its readiness.
    """

    argv: tuple[str, ...]
    key_variable: str
    file: Path
    document: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    sources: tuple[Path, ...] = ()
    start_seconds: float = 30.0

    def text(self) -> str:
        """The configuration file."""
        return yaml.safe_dump(dict(self.document), sort_keys=True)

    def digest(self) -> str:
        """Identifies what runs: configuration, version, our own code."""
        parts = [self.text(), self.version, *(path.read_text(encoding="utf-8") for path in self.sources)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def launch(config: LocalInstant | LocalThinking, weights: Path, root: Path, directory: Path) -> Launch:
    """How to serve ``weights`` with the engine of ``config``; its files go to ``directory``."""
    return {"llamacpp": _llamacpp, "vllm": _vllm}[config.engine](config, weights, root, directory)


def vllm_home(root: Path) -> Path:
    """Where vLLM is installed when somebody asks for it: a virtual environment of its own."""
    return root / ".harness" / "vllm"


def _llamacpp(config: LocalInstant | LocalThinking, weights: Path, root: Path, directory: Path) -> Launch:
    file = directory / f"{config.model.name}.llamacpp.yaml"
    return Launch(
        argv=(sys.executable, "-m", "inference.llamacpp_server", "--config", str(file), "--port", "{port}"),
        key_variable="INFERENCE_API_KEY",
        file=file,
        document={
            **_base(root, "llamacpp"),
            "model": str(weights),
            "name": config.model.name,
            "context_tokens": config.model.context_tokens,
            "parallel": _parallel(config),
        },
        version=metadata.version("xllamacpp"),
        sources=(root / "inference" / "llamacpp_server.py",),
    )


def _vllm(config: LocalInstant | LocalThinking, weights: Path, root: Path, directory: Path) -> Launch:
    file = directory / f"{config.model.name}.vllm.yaml"
    program = vllm_home(root) / "bin" / "vllm"
    return Launch(
        argv=(str(program), "serve", str(weights), "--config", str(file), "--port", "{port}"),
        key_variable="VLLM_API_KEY",
        file=file,
        document={
            **_base(root, "vllm"),
            "host": "127.0.0.1",
            "served-model-name": config.model.name,
            "max-model-len": config.model.context_tokens,
            "max-num-seqs": _parallel(config),
            "enforce-eager": True,
        },
        environment={
            "PYTHONPATH": str(root),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        sources=(root / "inference" / "vllm_guard.py",),
        start_seconds=300.0,
    )


def _base(root: Path, engine: str) -> dict[str, Any]:
    text = (root / "inference" / "engines" / f"{engine}.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def _parallel(config: LocalInstant | LocalThinking) -> int:
    return config.serverless.concurrency if isinstance(config, LocalThinking) else config.concurrency


def write_if_changed(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step, unless it is there already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
