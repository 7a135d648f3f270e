"""How a gateway's container is made, and the fingerprints by which one made otherwise is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docker.types import LogConfig

from harness.providers.docker.image import HARDENED, Reference
from harness.providers.gateway_environment import fingerprint

__all__ = ["PREFIX", "SHAPE", "Shape", "fingerprints", "settings_print"]

PREFIX = "GATEWAY_"
SHAPE = "harness.shape"
"""Label with the fingerprint of how the container was created."""


@dataclass(frozen=True)
class Shape:
    """How a gateway's container is made, its settings apart: the same on every machine."""

    reference: Reference
    user: str
    port: int
    bind: str = "0.0.0.0"  # noqa: S104 - the machine's firewall decides who gets there
    name: str = "gateway"
    logs: str = "journald"
    ready_seconds: float = 30.0
    labels: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """What `docker create` is given beside image, name and settings."""
        return {
            **HARDENED,
            "user": self.user,
            "ports": {"8000/tcp": (self.bind, self.port)},
            "restart_policy": {"Name": "unless-stopped"},
            "log_config": LogConfig(
                type=self.logs, config={"tag": self.name} if self.logs == "journald" else {}
            ),
            "stop_signal": "SIGTERM",
        }

    @property
    def print(self) -> str:
        """Fingerprint of :meth:`arguments`: a container made otherwise is another version."""
        return _digest(json.dumps(self.arguments(), sort_keys=True, default=str))


def settings_print(prints: Mapping[str, str], shape: str) -> str:
    """The fingerprint of a version's settings, from those of its variables and of its shape."""
    return _digest(json.dumps([sorted(prints.items()), shape]))


def fingerprints(variables: Sequence[str]) -> dict[str, str]:
    """Variable: fingerprint, of the gateway's own among ``NAME=value`` entries."""
    pairs = (entry.partition("=") for entry in variables)
    return {name: fingerprint(value) for name, _, value in pairs if name.startswith(PREFIX)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
