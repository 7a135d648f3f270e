"""What a GPU machine is given: pure functions from the environment to files and what identifies them.

On the machine::

    /opt/instant/weights/SHA256.gguf     one file, verified there after it was copied (llamacpp)
    /opt/instant/model/, venv/           what vLLM loads and runs from; put there by whoever runs it
    /opt/instant/packages/DIGEST/        the engine's Python packages (llamacpp)
    /opt/instant/releases/DIGEST/        one configuration: engine.yaml, our sources, the unit file
    /opt/instant/current, previous       links to the configuration in use, and to the one before it
    /etc/instant/key.env                 the key; root's alone
    /etc/systemd/system/instant.service  the unit of the configuration in use
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from harness.environment.inference import PodInstant
from harness.errors import DeployError
from harness.hosts import packages

__all__ = ["HOME", "KEY_FILE", "UNIT", "Configuration", "configuration", "key_file"]

HOME = "/opt/instant"
KEY_FILE = "/etc/instant/key.env"
UNIT = "instant.service"
_ENGINE_PACKAGES = ("xllamacpp", "pydantic", "pyyaml")


@dataclass(frozen=True)
class Configuration:
    """One model configuration. ``files`` are those of its directory, by their name in it.

    ``packages`` are the Python packages that it is given (none: the machine has its own); ``weights`` is
    the sha256 of the weights file that it maps (empty: the engine's directory carries a manifest);
    ``start_seconds`` is the deadline for its first answer.
    """

    title: str
    key_variable: str
    files: Mapping[str, bytes]
    packages: tuple[str, ...]
    weights: str
    start_seconds: float

    @property
    def packages_digest(self) -> str:
        """What identifies the Python packages; empty when none are given."""
        return packages.digest(self.packages) if self.packages else ""

    @property
    def digest(self) -> str:
        """What identifies the configuration; no secret goes into it. 16 hexadecimal digits."""
        made = hashlib.sha256(f"{self.packages_digest}\0{self.weights}".encode())
        for name, content in sorted(self.files.items()):
            made.update(f"\0{name}\0".encode() + content)
        return made.hexdigest()[:16]


def configuration(config: PodInstant, root: Path) -> Configuration:
    """What the machine of ``config`` must run; sources come from the repository at ``root``."""
    return {"llamacpp": _llamacpp, "vllm": _vllm}[config.engine](config, root)


def key_file(variable: str, key: str) -> bytes:
    """The content of the unit's EnvironmentFile (systemd.exec(5): quoted, backslash escapes).

    Raises:
        DeployError: when the key has line breaks, which no environment file could carry.
    """
    if "\n" in key or "\r" in key:
        raise DeployError("instant", "the key of the engine has a line break", "generate another one")
    escaped = "".join(f"\\{letter}" if letter in '"\\$`' else letter for letter in key)
    return f'{variable}="{escaped}"\n'.encode()


def _llamacpp(config: PodInstant, root: Path) -> Configuration:
    document = {
        **_document(root / "inference" / "engines" / "llamacpp.yaml"),
        "host": "0.0.0.0",  # noqa: S104 - the machine's firewall lets in those that are declared
        "port": _port(config),
        "model": f"{HOME}/weights/{config.model.sha256}.gguf",
        "name": config.model.name,
        "context_tokens": config.model.context_tokens,
        "parallel": config.concurrency,
    }
    sources = root / "inference"
    return Configuration(
        title=f"{config.model.name} on llamacpp",
        key_variable="INFERENCE_API_KEY",
        files={
            "engine.yaml": yaml.safe_dump(document, sort_keys=True).encode(),
            "inference/__init__.py": (sources / "__init__.py").read_bytes(),
            "inference/llamacpp_server.py": (sources / "llamacpp_server.py").read_bytes(),
            UNIT: (sources / "cloud" / "instant.llamacpp.service").read_bytes(),
        },
        packages=_ENGINE_PACKAGES,
        weights=config.model.sha256,
        start_seconds=60.0,
    )


def _vllm(config: PodInstant, root: Path) -> Configuration:
    cloud = root / "inference" / "cloud"
    document = {
        **_document(cloud / "instant.vllm.yaml"),
        "port": _port(config),
        "served-model-name": config.model.name,
        "max-model-len": config.model.context_tokens,
        "max-num-seqs": config.concurrency,
    }
    return Configuration(
        title=f"{config.model.name} on vllm",
        key_variable="VLLM_API_KEY",
        files={
            "engine.yaml": yaml.safe_dump(document, sort_keys=True).encode(),
            "vllm_guard.py": (root / "inference" / "vllm_guard.py").read_bytes(),
            UNIT: (cloud / "instant.service").read_bytes(),
        },
        packages=(),
        weights="",
        start_seconds=900.0,
    )


def _port(config: PodInstant) -> int:
    parts = urlsplit(config.url)
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def _document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found
