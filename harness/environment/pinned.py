"""Which keys the environment files beside one pin, and for whom they speak there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.attestation.sshsig import key_bytes
from harness.environment.yaml_tree import LARGEST, read_tree

__all__ = ["Claim", "Neighbour", "claims", "neighbours"]


@dataclass(frozen=True)
class Neighbour:
    """What another environment file says about keys. It may be wrong in every other respect."""

    name: str
    predecessor: str | None
    runners: tuple[str, ...]
    public_key: str | None


@dataclass(frozen=True)
class Claim:
    """In ``file``, the key with these bytes speaks for an environment."""

    key: bytes
    speaks_for: str
    file: str


def neighbours(file: Path) -> list[Neighbour]:
    """The environment files beside ``file``; what cannot be read is reported by its own loading."""
    return [
        found
        for other in sorted(file.parent.glob("*.yaml"))
        if other.name != file.name and (found := _neighbour(other)) is not None
    ]


def claims(others: Sequence[Neighbour]) -> list[Claim]:
    """Every key that ``others`` pin, and for whom it speaks."""
    return [claim for other in others for claim in _claims(other)]


def _claims(other: Neighbour) -> Iterator[Claim]:
    file = f"environments/{other.name}.yaml"
    pinned = [(key, other.predecessor) for key in other.runners] + [(other.public_key, other.name)]
    for text, speaks_for in pinned:
        if text is None or speaks_for is None:
            continue
        try:
            yield Claim(key_bytes(text), speaks_for, file)
        except ValueError:  # no key: its own loading says so
            continue


def _neighbour(path: Path) -> Neighbour | None:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        data = read_tree(path.read_text(encoding="utf-8")).data
    except (OSError, UnicodeDecodeError):
        return None
    if not isinstance(data, dict):
        return None
    gate = _mapping(data.get("gate"))
    listed = gate.get("runners")
    runners = [_mapping(entry).get("key") for entry in listed] if isinstance(listed, list) else []
    return Neighbour(
        path.stem,
        _text(data.get("predecessor")),
        tuple(key for key in runners if isinstance(key, str)),
        _text(gate.get("public_key")),
    )


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
