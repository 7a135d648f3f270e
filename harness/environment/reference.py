"""The table of every field of an environment file, for docs/environments.md; generated from the model."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from harness.environment.base import HOST_PATTERN
from harness.environment.explain import is_secret
from harness.environment.gate import Approver, Freeze, Runner
from harness.environment.machines import Allow, Machine
from harness.environment.model import COMPONENTS, Environment, Waiver

__all__ = ["fields_text"]

_LISTED = ("Allow", "Machine", "Waiver")
_LEAVES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def fields_text() -> str:
    """Markdown: one table for the file itself, one for each component and provider, one for a waiver."""
    blocks = [_block("The file", Environment)]
    for component in COMPONENTS:
        for model in _models(Environment.model_fields[component].annotation):
            providers = " or ".join(map(str, get_args(model.model_fields["provider"].annotation)))
            blocks.append(_block(f"`{component}` with `provider: {providers}`", model))
    blocks.append(_block("`machines.hosts`, each", Machine))
    blocks.append(_block("`machines.hosts[].allows`, each", Allow))
    blocks.append(_block("`waivers`, each", Waiver))
    blocks.append(_block("`gate.runners`, each", Runner))
    blocks.append(_block("`gate.approvals.approvers`, each", Approver))
    blocks.append(_block("`gate.freezes`, each", Freeze))
    return "\n".join(blocks)


def _block(title: str, model: type[BaseModel]) -> str:
    own = "" if model is Environment else " ".join((model.__doc__ or "").split())
    head = [
        f"### {title}",
        "",
        *([own, ""] if own else []),
        "| Key | Value | Default | |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *_rows(model, ""), ""])


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in sorted(model.model_fields.items(), key=lambda entry: entry[0] != "provider"):
        key = f"{prefix}{field.alias or name}"
        inner = _models(field.annotation)
        meaning = " ".join((field.description or "").split())
        if key == "provider":
            meaning = "Who runs it."
        if field.discriminator:
            yield f"| `{key}` | a mapping, by its `provider` | required | {meaning or 'See below.'} |"
        elif inner and get_origin(field.annotation) is not tuple:
            yield f"| `{key}` | a mapping | {_default(field)} | {meaning} |"
            for part in inner:
                yield from _rows(part, f"{key}.")
        else:
            yield f"| `{key}` | {_kind(field)} | {_default(field)} | {meaning} |"


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [model for arm in get_args(annotation) for model in _models(arm)]
    return []


def _kind(field: FieldInfo) -> str:
    if is_secret(field):
        return "secret reference"
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra.get("format") == "uri":
        return "URL"
    patterns = [m.pattern for m in field.metadata if getattr(m, "pattern", None)]
    if patterns and patterns[0] != HOST_PATTERN:
        return f"text like `{patterns[0]}`".replace("|", "\\|")
    return "host name" if patterns else _named(field.annotation)


def _named(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        is_host = any(HOST_PATTERN in repr(item) for item in arguments[1:])
        return "host name" if is_host else _named(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_named(arm) for arm in arguments if arm is not type(None))
    if origin is tuple:
        return f"list of {_plural(_named(arguments[0]))}"
    if origin in (dict, Mapping):
        return "mapping of text to text"
    return _LEAVES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _plural(word: str) -> str:
    return "mappings (see below)" if word in _LISTED else f"{word}s"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ({}, ()):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
