"""What single fields cannot say: whether the parts of an environment fit together."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path as FilePath
from urllib.parse import urlsplit

from harness.environment.consistency_gate import gate_inconsistencies
from harness.environment.explain import Found, dotted, nearest, secret_fields
from harness.environment.fitting import machine_names
from harness.environment.model import COMPONENTS, Environment
from harness.environment.yaml_tree import Path
from harness.items import ITEMS

__all__ = ["inconsistencies"]

_LONGEST_WAIVER = dt.timedelta(days=90)
_CHECK = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_PREDECESSOR = re.compile(r"^predecessor:[ \t]*([a-z][a-z0-9-]*)", re.MULTILINE)
_URL_OF = {"port": "url", "api_port": "api_url"}
"""A port of a local program, and the URL that must agree with it."""
_PUBLIC = (("supabase", "api_url"), ("thinking", "url"), ("gateway", "url"), ("web", "url"))


def inconsistencies(environment: Environment, file: FilePath) -> Iterator[Found]:
    """Every contradiction between the parts of ``environment``, which was read from ``file``."""
    yield from _name(environment, file)
    yield from _predecessors(environment, file)
    yield from _items(environment)
    yield from _waivers(environment)
    yield from _ports(environment)
    yield from _urls(environment)
    yield from _limits(environment)
    yield from _generated_secrets(environment)
    yield from gate_inconsistencies(environment, file)
    yield from machine_names(environment)


def _name(environment: Environment, file: FilePath) -> Iterator[Found]:
    if environment.environment != file.stem:
        hint = f"write {file.stem}, or rename the file"
        yield ("environment",), f"is {environment.environment}, but the file is {file.name}", hint


def _predecessors(environment: Environment, file: FilePath) -> Iterator[Found]:
    chain = [environment.environment]
    following = environment.predecessor
    while following is not None:
        if following in chain:
            way = " <- ".join((*chain, following))
            yield ("predecessor",), f"goes round in a circle: {way}", "a release comes from somewhere"
            return
        chain.append(following)
        path = file.with_name(f"{following}.yaml")
        if not path.is_file():
            others = sorted(other.stem for other in file.parent.glob("*.yaml"))
            yield ("predecessor",), f"there is no environment {following}", nearest(following, others)
            return
        match = _PREDECESSOR.search(path.read_text(encoding="utf-8", errors="replace"))
        following = match[1] if match and match[1] != "null" else None


def _items(environment: Environment) -> Iterator[Found]:
    for item, reason in environment.not_applicable.items():
        if item not in ITEMS:
            hint = nearest(item, list(ITEMS)) or "items are WEB-1..4, GW-1..5, IG-1..5, TG-1..5, SB-1..5"
            yield ("not_applicable", item), "is not an item of the deployment plan", hint
        if len(reason.strip()) < 10:
            yield ("not_applicable", item), "needs a reason that a reader can judge", "write why"


def _waivers(environment: Environment) -> Iterator[Found]:
    seen: set[tuple[str, str | None]] = set()
    latest = dt.datetime.now(dt.UTC).date() + _LONGEST_WAIVER
    for index, waiver in enumerate(environment.waivers):
        path: Path = ("waivers", index, "check")
        if waiver.check not in ITEMS and not _CHECK.fullmatch(waiver.check):
            yield path, "is neither a check nor an item", nearest(waiver.check, list(ITEMS))
        if (waiver.check, waiver.where) in seen:
            yield path, f"{waiver.check} is waived twice", "keep one waiver, or name a place (where)"
        if waiver.expires > latest:
            what = f"is more than {_LONGEST_WAIVER.days} days ahead: nobody would look at it again in time"
            yield ("waivers", index, "expires"), what, f"{latest} at the latest; renew it when that comes"
        if waiver.check in environment.not_applicable:
            yield path, f"{waiver.check} is waived and not applicable", "it is one or the other"
        seen.add((waiver.check, waiver.where))


def _here(environment: Environment, component: str) -> bool:
    """Whether the component's program runs on this machine."""
    part = getattr(environment, component)
    return part.provider == "local" and getattr(part, "engine", "") != "url"


def _local_ports(environment: Environment) -> Iterator[tuple[str, str, int]]:
    """Component, field and number of every port that a program of this machine listens on."""
    for component in COMPONENTS:
        part = getattr(environment, component)
        if _here(environment, component):
            for field in type(part).model_fields:
                if field == "port" or field.endswith("_port"):
                    yield component, field, getattr(part, field)


def _ports(environment: Environment) -> Iterator[Found]:
    taken: dict[int, str] = {}
    for component, field, port in _local_ports(environment):
        path = (component, field)
        if port in taken:
            yield path, f"port {port} is that of {taken[port]}", "give each program a port of its own"
        taken.setdefault(port, dotted(path))


def _urls(environment: Environment) -> Iterator[Found]:
    for component, field, port in _local_ports(environment):
        if field in _URL_OF:
            path = (component, _URL_OF[field])
            part = getattr(environment, component)
            yield from _local_url(path, getattr(part, path[1]), getattr(part, "bind", ""), field, port)
    for component, url_field in _PUBLIC:
        part = getattr(environment, component)
        if part.provider != "local" and not getattr(part, url_field).startswith("https://"):
            yield (component, url_field), "is not https", "TLS is verified everywhere but on loopback"


def _local_url(path: Path, url: str, bind: str, port_field: str, port: int) -> Iterator[Found]:
    parts = urlsplit(url)
    if not _is_loopback(parts.hostname or "") and parts.hostname != bind:
        yield path, f"{parts.hostname} is not loopback, but the provider is local", "http://127.0.0.1:PORT"
    shown = parts.port or {"http": 80, "https": 443}[parts.scheme]
    if shown != port:
        hint = f"make {path[0]}.{port_field} and {path[-1]} agree"
        yield path, f"says port {shown}, but {path[0]}.{port_field} is {port}", hint


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _limits(environment: Environment) -> Iterator[Found]:
    limits = environment.gateway.limits
    context = max(environment.instant.model.context_tokens, environment.thinking.model.context_tokens)
    path = ("gateway", "limits", "request_tokens")
    if limits.request_tokens > context:
        yield path, f"{limits.request_tokens} fits no model: the longest context is {context}", "lower it"
    if limits.request_tokens > limits.user_tokens_per_day:
        yield path, "is more than user_tokens_per_day: no request could ever use it", "lower it"
    budget = ("gateway", "limits", "thinking_tokens_per_day")
    if limits.thinking_tokens_per_day < limits.request_tokens:
        yield budget, "is less than one request may use", "raise it"


def _generated_secrets(environment: Environment) -> Iterator[Found]:
    for component in COMPONENTS:
        part = getattr(environment, component)
        if part.provider == "local":
            continue
        for path, reference in secret_fields(part, (component,)):
            if reference.startswith("local:"):
                what = f"local: makes up a secret on this machine; {part.provider} would not know it"
                yield path, what, "env:NAME or file:PATH"
