"""Does whatever runs an engine keep it running, and keep its key to itself?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import PurePath

import httpx

from harness.checks.base import Effect, check
from harness.checks.endpoint import WITHIN, Endpoint, for_each
from harness.checks.platform import control
from harness.checks.serverless import wake
from harness.errors import DeadlineExceeded
from harness.evidence import Evidence, Finding, judge, refuted
from harness.hosts.place import Place, descendants
from harness.hosts.ssh import CommandFailed
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["engine_recovers", "key_hidden", "weights", "workers_recover"]

_WEIGHTS = (".gguf", ".safetensors")


@for_each("key_hidden")
def key_hidden(stack: Stack, component: str) -> Evidence:
    """The key stands in no argument of any process: arguments are readable by everybody on a host."""
    pid = stack.processes.pid(component)
    key = Endpoint.of(stack, component).key.reveal()
    place = stack.processes.place(component)
    findings, seen = [], place.processes()
    for process in seen:
        if any(key in argument for argument in process.arguments):
            where = f"arguments of {process.name} (pid {process.pid}{_on(place)})"
            remedy = "hand the key over in the environment or in a file that only its owner can read"
            findings.append(Finding("no key", f"the key of {component}", where, remedy))
    summary = f"no key in the arguments of {len(seen)} processes{_on(place)}"
    return judge(summary, findings, pid=pid, processes=len(seen))


def _on(place: Place) -> str:
    return f" on {place.machine}" if place.machine else ""


@for_each("weights")
def weights(stack: Stack, component: str) -> Evidence:
    """The engine has loaded the declared weights, byte for byte, and no other ones."""
    endpoint = Endpoint.of(stack, component)
    wanted: str = getattr(stack.environment, component).model.sha256
    pid = stack.processes.pid(component)
    if component == "thinking":
        wake(stack)
    place = stack.processes.place(component)
    if endpoint.engine.maps_weights:
        pids = control(stack).workers() if component == "thinking" else [pid]
        running = place.processes()
        tree = [process.pid for top in pids for process in descendants(running, top)]
        loaded = dict(place.mapped(tree, _WEIGHTS))
    else:
        loaded = _manifest(place, endpoint.get("/v1/models").json()["data"][0]["root"])
    if not loaded:
        seen = Finding(
            "mapped weights", "none", f"{component}, pid {pid}{_on(place)}", f"restart {component}"
        )
        return refuted("the engine has loaded no weights", seen)
    remedy = f"stop {component}, remove that file, deploy again"
    findings = [
        Finding(f"sha256 {wanted}", observed, f"{path}{_on(place)}", remedy)
        for path, observed in sorted(loaded.items())
        if observed != wanted
    ]
    names = ", ".join(PurePath(path).name for path in sorted(loaded))
    return judge(f"{names}: sha256 {wanted[:12]}…", findings, files=sorted(loaded))


def _manifest(place: Place, directory: str) -> dict[str, str]:
    """Of a directory made of weights: what it was made of, and each file that changed since."""
    try:
        manifest = json.loads(place.read(f"{directory}/manifest.json"))
        made = {directory: str(manifest["source_sha256"])}
        wanted = {f"{directory}/{name}": sha256 for name, sha256 in manifest["files"].items()}
    except (OSError, CommandFailed, ValueError, KeyError) as error:
        return {directory: f"no manifest: {type(error).__name__}"}
    present = place.sha256(wanted)
    return made | {
        path: f"changed since it was made: sha256 {present.get(path, 'of nothing: it is gone')}"
        for path, sha256 in wanted.items()
        if present.get(path) != sha256
    }


@check("instant.recovers", component="instant", effect=Effect.DISTURBS, within=WITHIN)
def engine_recovers(stack: Stack) -> Evidence:
    """A killed engine is started again by the process manager, and answers, within the declared time."""
    endpoint = Endpoint.of(stack, "instant")
    return _recovers(
        stack,
        "instant",
        stack.processes.kill("instant"),
        lambda: stack.processes.pid("instant"),
        lambda: endpoint.chat("?", 1, within=endpoint.answer_within).status_code == 200,
    )


@check("thinking.recovers", component="thinking", effect=Effect.DISTURBS, within=WITHIN)
def workers_recover(stack: Stack) -> Evidence:
    """A killed worker is replaced when the next request comes, and it answers, within the declared time."""
    endpoint = Endpoint.of(stack, "thinking")
    platform = control(stack)
    platform.workers()  # where nobody can touch a worker, none need be paid for
    wake(stack)
    killed = platform.kill_workers()
    if not killed:
        where = f"{endpoint.url}/health"
        return refuted("no worker to kill", Finding("a running worker", "none", where, "read its log"))
    return _recovers(
        stack,
        "thinking",
        killed[0],
        lambda: next(iter(platform.workers()), 0),
        lambda: endpoint.chat("?", 1, within=endpoint.patience - 55).status_code == 200,
    )


def _recovers(
    stack: Stack, component: str, old: int, pid: Callable[[], int], answers: Callable[[], bool]
) -> Evidence:
    """Wait until a process other than ``old`` answers; heal what did not heal by itself."""
    seconds = getattr(stack.environment, component).recover_within_seconds
    started = time.monotonic()

    def recovered() -> bool:
        return answers() and pid() not in (0, old)

    try:
        wait_until(
            f"{component} after a kill",
            recovered,
            seconds=seconds,
            seen=lambda: f"pid {pid()}",
            errors=(httpx.TransportError,),
        )
    except DeadlineExceeded as error:
        stack.processes.start(component)
        finding = Finding(
            f"a new process that answers within {seconds:g} s of the kill of pid {old}",
            error.last_seen,
            f"process manager, program {component}",
            "set it to restart the program always",
        )
        return refuted(f"{component} did not come back within {seconds:g} s", finding)
    took = time.monotonic() - started
    summary = f"pid {old} killed; pid {pid()} answered after {took:.1f} s"
    return judge(summary, [], seconds=round(took, 2), old=old, new=pid())
