"""What pydantic found, in words: where it stands in the file, what it is, and the nearest valid name."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from harness.environment.model import Environment
from harness.environment.yaml_tree import Path, Tree
from harness.secrets import parse_reference

__all__ = ["Found", "dotted", "explain", "is_secret", "nearest", "secret_fields"]

Found = tuple[Path, str, str]
"""A path in the data, what is wrong there, and a hint."""


def nearest(word: str, words: Sequence[str]) -> str:
    """A hint: the valid name that ``word`` comes nearest to, or all of them when there are few."""
    lowered = {other.lower(): other for other in words}
    near = difflib.get_close_matches(word.lower(), lowered, 1, 0.6)
    near = near or [other for other in lowered if len(word) > 2 and other.startswith(word.lower())]
    if near:
        return f"did you mean {lowered[near[0]]}?"
    return f"one of: {', '.join(words)}" if len(words) <= 16 else ""


def dotted(path: Path) -> str:
    """``web.port``, ``gateway.hosts[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".")


def explain(error: ValidationError, data: Any, tree: Tree) -> list[Found]:
    """Every problem of ``error``; a missing key that was only misspelt is not said twice."""
    details = [(_data_path(detail["loc"]), detail) for detail in error.errors(include_url=False)]
    missing = [path for path, detail in details if detail["type"] == "missing"]
    found: list[Found] = []
    misspelt: set[Path] = set()
    for path, detail in details:
        if detail["type"] == "extra_forbidden":
            what, hint, meant = _unknown_key(path, data, missing)
            misspelt |= {(*path[:-1], meant)} if meant else set()
            found.append((path, what, hint))
        elif detail["type"] != "missing":
            found.append((path, *_words(path, detail, data, tree)))
    found += [(path, "is missing", _purpose(path, data)) for path in missing if path not in misspelt]
    return found


def _data_path(loc: tuple[int | str, ...]) -> Path:
    """pydantic's location without the tag of the union that stands after a component's name."""
    tagged = len(loc) > 1 and _is_tagged(str(loc[0]))
    return (loc[0], *loc[2:]) if tagged else loc


def _is_tagged(name: str) -> bool:
    field = Environment.model_fields.get(name)
    return field is not None and field.discriminator is not None


def _unknown_key(path: Path, data: Any, missing: Sequence[Path]) -> tuple[str, str, str]:
    """What, hint, and the missing key that was probably meant."""
    key = str(path[-1])
    model = _model_at(path[:-1], data)
    absent = [str(other[-1]) for other in missing if other[:-1] == path[:-1]]
    meant = difflib.get_close_matches(key, absent, 1, 0.6)
    if meant:
        return "is not a known key", f"did you mean {meant[0]}?", meant[0]
    return "is not a known key", nearest(key, _keys(model)) if model else "", ""


def _words(path: Path, detail: ErrorDetails, data: Any, tree: Tree) -> tuple[str, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    field = _field_at(path, data)
    if kind == "literal_error" and field is not None:
        return _literal(_value_at(path, data), [str(value) for value in _literals(field.annotation)])
    if kind == "union_tag_invalid":
        tag = str(context.get("tag"))
        return f"there is no provider {tag!r} for it", nearest(tag, _tags(str(path[0])))
    if kind == "union_tag_not_found":
        return "provider is missing", f"one of: {', '.join(_tags(str(path[0])))}"
    if kind == "string_type":
        return _not_text(path, field, data, tree)
    text = str(context["error"]) if kind == "value_error" and "error" in context else detail["msg"]
    return _WORDS.get(kind, text[:1].lower() + text[1:]), ""


_WORDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "model_type": "must be a mapping (key: value lines)",
    "model_attributes_type": "must be a mapping (key: value lines)",
    "dict_type": "must be a mapping (key: value lines)",
    "tuple_type": "must be a list",
    "date_type": "must be a date such as 2027-01-31",
    "date_parsing": "must be a date such as 2027-01-31",
    "date_from_datetime_parsing": "must be a date such as 2027-01-31",
    "date_from_datetime_inexact": "must be a date such as 2027-01-31",
}


def _literal(value: Any, allowed: Sequence[str]) -> tuple[str, str]:
    what = f"must be {allowed[0]}" if len(allowed) == 1 else "is not one of its values"
    return what, nearest(str(value), allowed) if len(allowed) > 1 else ""


def _not_text(path: Path, field: FieldInfo | None, data: Any, tree: Tree) -> tuple[str, str]:
    value = _value_at(path, data)
    place = tree.values.get(path)
    if isinstance(value, dict | list) or place is None or place.plain is None:
        return "must be text", ""
    kind = {bool: "a truth value", type(None): "nothing"}.get(type(value), "a number")
    if field is not None and is_secret(field):
        return f"must be a secret reference; it reads as {kind}", "env:NAME, file:PATH or local:NAME"
    return f"must be text; unquoted, it reads as {kind}", f'quote it: "{place.plain}"'


# --- walking the model -------------------------------------------------------------------------------


def _arms(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the annotation itself."""
    if get_origin(annotation) is Annotated:
        yield from _arms(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for arm in get_args(annotation):
            yield from _arms(arm)
    else:
        yield annotation


def _literals(annotation: Any) -> list[Any]:
    return [v for arm in _arms(annotation) if get_origin(arm) is Literal for v in get_args(arm)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    return [arm for arm in _arms(annotation) if isinstance(arm, type) and issubclass(arm, BaseModel)]


def _tags(name: str) -> list[str]:
    models = _models(Environment.model_fields[name].annotation)
    return [str(tag) for model in models for tag in _literals(model.model_fields["provider"].annotation)]


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    named = {field.alias or name: field for name, field in model.model_fields.items()}
    return named.get(key)


def _chosen(models: Sequence[type[BaseModel]], node: Any) -> type[BaseModel] | None:
    """The model that ``node`` names by its provider; the only one, when there is one."""
    if len(models) == 1:
        return models[0]
    tag = node.get("provider") if isinstance(node, Mapping) else None
    for model in models:
        if "provider" in model.model_fields and tag in _literals(model.model_fields["provider"].annotation):
            return model
    return None


def _model_at(path: Path, data: Any) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Environment
    annotation: Any = Environment
    for depth, part in enumerate(path):
        if isinstance(part, int):  # an item of a list of models
            annotation = typing.get_args(annotation)[0] if typing.get_args(annotation) else None
        else:
            field = _field(model, part) if model else None
            annotation = field.annotation if field else None
        model = _chosen(_models(annotation), _value_at(path[: depth + 1], data)) if annotation else None
    return model


def _field_at(path: Path, data: Any) -> FieldInfo | None:
    if not path or isinstance(path[-1], int):
        return None
    model = _model_at(path[:-1], data)
    return _field(model, path[-1]) if model else None


def _value_at(path: Path, data: Any) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _purpose(path: Path, data: Any) -> str:
    field = _field_at(path, data)
    return ((field.description if field else None) or "").partition("\n")[0]


def is_secret(field: FieldInfo) -> bool:
    """Whether ``field`` holds a secret reference."""
    if any(_is_reference(item) for item in field.metadata):
        return True
    annotated = [a for a in get_args(field.annotation) if get_origin(a) is Annotated]
    return any(_is_reference(item) for a in annotated for item in get_args(a)[1:])


def _is_reference(metadata: Any) -> bool:
    return isinstance(metadata, AfterValidator) and metadata.func is parse_reference


def secret_fields(model: BaseModel, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every secret reference below ``model``: its path, and the reference."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        here = (*path, field.alias or name)
        if isinstance(value, BaseModel):
            yield from secret_fields(value, here)
        elif isinstance(value, str) and is_secret(field):
            yield here, value
