"""What a run against an environment would lack: secrets that are not there, hosts that do not answer.

Only reads: names are resolved and connections opened, nothing is sent. Programs of this machine and of
declared machines are not asked, since they are what a run deploys; the machines are.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from harness.environment.explain import dotted, secret_fields
from harness.environment.model import COMPONENTS, Environment
from harness.errors import Problem
from harness.secrets import SecretStore

__all__ = ["DEADLINE_SECONDS", "preflight", "targets"]

DEADLINE_SECONDS = 2.0
"""For every target together: they are asked side by side."""

_DEPLOYED_HERE = ("local", "docker", "pod", "host")
"""Providers whose programs are what a run deploys: their machines must answer, they need not yet."""

Target = tuple[str, int]
"""Host and TCP port."""


def preflight(environment: Environment, secrets: SecretStore) -> list[Problem]:
    """A problem for every secret that is missing and every target that is out of reach; takes 2 s at most.

    Empty for an environment that is ready. Touches nothing.
    """
    return [
        *_missing_secrets(environment, secrets),
        *_missing_files(environment, secrets.root),
        *_unreachable(targets(environment)),
    ]


def _missing_secrets(environment: Environment, secrets: SecretStore) -> list[Problem]:
    wanted: dict[str, list[str]] = defaultdict(list)
    for path, reference in secret_fields(environment):
        if not reference.startswith("local:"):  # those are made when they are first used
            wanted[reference].append(dotted(path))
    return secrets.missing({", ".join(places): reference for reference, places in wanted.items()})


def _missing_files(environment: Environment, root: Path) -> list[Problem]:
    """Files that a person puts beside the environment's own."""
    name = getattr(environment.supabase, "database_ca", None)
    if name is None or (root / name).is_file():
        return []
    hint = "download it: the project's dashboard, Database, SSL"
    return [Problem("supabase.database_ca", f"there is no file {name}", hint)]


def targets(environment: Environment) -> dict[Target, list[str]]:
    """Every host and port that the environment names, with the paths that name it."""
    found: dict[Target, list[str]] = defaultdict(list)
    for machine in environment.machines.hosts if environment.machines else ():
        found[machine.address, machine.ssh_port].append(f"machines.{machine.name}")
    for component in COMPONENTS:
        part = getattr(environment, component)
        if part.provider in _DEPLOYED_HERE and getattr(part, "engine", "") != "url":
            continue
        for field, target in _targets_of(part):
            found[target].append(f"{component}.{field}")
    return dict(found)


def _targets_of(part: object) -> Iterator[tuple[str, Target]]:
    for field in ("url", "api_url", "management_url"):
        if url := getattr(part, field, None):
            parts = urlsplit(url)
            yield field, (parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme])
    if name := getattr(part, "database_host", None):
        yield "database_host", (name, getattr(part, "database_port", 5432))


def _unreachable(wanted: dict[Target, list[str]]) -> list[Problem]:
    """Ask all targets side by side. The threads are daemons: a name server may hang for minutes."""
    answers: SimpleQueue[tuple[Target, str]] = SimpleQueue()
    for target in wanted:
        threading.Thread(target=lambda t=target: answers.put((t, _connect(t))), daemon=True).start()
    deadline = time.monotonic() + DEADLINE_SECONDS + 0.1  # the connections' own deadline speaks first
    failures = dict.fromkeys(wanted, f"no answer within {DEADLINE_SECONDS:g} s")
    for _ in wanted:
        try:
            target, failure = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        failures[target] = failure
    return [
        Problem(", ".join(wanted[host, port]), f"{host}:{port} cannot be reached: {failure}")
        for (host, port), failure in failures.items()
        if failure
    ]


def _connect(target: Target) -> str:
    """Why ``target`` cannot be reached; empty when it can."""
    try:
        with socket.create_connection(target, timeout=DEADLINE_SECONDS):
            return ""
    except socket.gaierror:
        return "the name does not resolve"
    except TimeoutError:
        return f"no answer within {DEADLINE_SECONDS:g} s"
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or type(error).__name__
