"""The serverless platform: does it scale to zero, start in time, keep its limits, notice a hung worker?"""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from harness.checks.base import Effect, Turn, check
from harness.checks.endpoint import WITHIN, Endpoint
from harness.checks.http import chat
from harness.checks.platform import Counts, control, counts, health
from harness.errors import DeadlineExceeded
from harness.evidence import Evidence, Finding, judge, refuted
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["burst", "cold_start", "execution_timeout", "hung_worker", "settings", "wake"]

_IDLE_MARGIN = 5.0
_COUNTED_SECONDS = 10.0
"""Until a platform counts a job that has been answered."""


def wake(stack: Stack) -> None:
    """Have at least one worker up: ask for one token."""
    endpoint = Endpoint.of(stack, "thinking")
    answer = endpoint.chat("?", 1)
    if answer.status_code != 200:
        raise ConnectionError(f"{endpoint.url}: a one-token chat is answered with {answer.status_code}")


@check("thinking.settings", component="thinking")
def settings(stack: Stack) -> Evidence:
    """The platform runs with the declared limits, and with no minimum of workers."""
    declared = stack.environment.thinking.serverless
    wanted: dict[str, float | str] = {
        "workersMin": 0,
        "workersMax": declared.max_workers,
        "idleTimeout": declared.idle_seconds,
        "executionTimeoutMs": round(declared.execution_timeout_seconds * 1000),
        "concurrency": declared.concurrency,
    }
    if gpu := getattr(stack.environment.thinking, "gpu", ""):  # who rents workers rents their GPU
        wanted |= {"gpu": gpu, "model": stack.environment.thinking.model.name}
    live = control(stack).settings()
    where = f"{stack.environment.thinking.url}: settings of the endpoint"
    shown = {name: value if isinstance(value, str) else f"{value:g}" for name, value in wanted.items()}
    findings = [
        Finding(f"{name} {shown[name]}", f"{name} {live.get(name)}", where, "deploy thinking again")
        for name, value in wanted.items()
        if live.get(name) != value
    ]
    return judge(", ".join(f"{name} {value}" for name, value in shown.items()), findings, **live)


@check(
    "thinking.reached_through_gateway", component="thinking", needs=("gateway", "supabase"), within=WITHIN
)
def reached_through_gateway(stack: Stack) -> Evidence:
    """What people ask the thinking model through the gateway arrives at exactly this endpoint."""
    endpoint = Endpoint.of(stack, "thinking")
    counting = counts(stack)
    mark = counting.health()["jobs"]["completed"] if counting else stack.logs.mark("thinking")
    token = stack.identities.token("thinking-route")
    answer = chat(
        stack, token, "?", model="thinking", max_tokens=1, purpose="route", seconds=endpoint.patience
    )
    where = f"{stack.environment.gateway.url}: GATEWAY_THINKING_URL"
    if answer.status != 200:
        seen = f"{answer.status} {answer.error_code}".strip()
        return refuted(
            "not reached", Finding("200", seen, where, "read the gateway's log by the request id")
        )
    findings = []
    if counting:
        return _counted(counting, endpoint, mark, where)
    if not _logged(stack, mark, answer.request_id):
        observed = f"request {answer.request_id} answered, but not by {endpoint.url}"
        remedy = "the gateway asks another endpoint: correct its URL and deploy it again"
        findings.append(Finding(f"the request in the log of {endpoint.url}", observed, where, remedy))
    return judge(f"request {answer.request_id} arrived at {endpoint.url}", findings)


def _counted(counting: Counts, endpoint: Endpoint, before: float, where: str) -> Evidence:
    """Whether the platform has completed a job since ``before``, where nobody can read a log.

    Somebody else's job at the same moment would count as ours: ask where there is little traffic.
    """
    done = before

    def more() -> bool:
        nonlocal done
        done = counting.health()["jobs"]["completed"]
        return bool(done > before)

    findings = []
    try:
        wait_until("a completed job", more, seconds=_COUNTED_SECONDS, longest_pause=counting.poll_seconds)
    except DeadlineExceeded:
        observed = f"answered, but {endpoint.url} has completed no job meanwhile"
        remedy = "the gateway asks another endpoint: correct its URL and deploy it again"
        findings.append(Finding("one more completed job", observed, where, remedy))
    return judge(f"{endpoint.url} has completed {done - before:g} more since it was asked", findings)


def _logged(stack: Stack, mark: float, request_id: str) -> int:
    """How often the platform logged a job with ``request_id``; waits 3 s for the first of its lines."""

    def count() -> int:
        return sum(request_id in line for line in stack.logs.lines("thinking", mark))

    with contextlib.suppress(DeadlineExceeded):
        wait_until("the job's log line", count, seconds=3)
    return count()


def _runs(stack: Stack, endpoint: Endpoint, mark: float, request_id: str) -> int:
    """How often the job ``request_id`` ran.

    A log is copied a little behind the answers, and a second line may be on its way when the first can be
    read. A log keeps its order: once the line of a later job is there, all lines of this one are.

    Raises:
        ConnectionError: the platform logs nothing, so nobody can say how often a job ran.
    """
    later = f"after-{time.monotonic_ns()}"
    headers = {**endpoint.headers(), "X-Request-ID": later}
    endpoint.client.get("/v1/models", headers=headers, timeout=endpoint.patience)
    if not _logged(stack, mark, later):
        raise ConnectionError(f"{endpoint.url}: request {later} does not appear in the platform's log")
    return _logged(stack, mark, request_id)


@check("thinking.cold_start", component="thinking", turn=Turn.LAST, within=WITHIN)
def cold_start(stack: Stack) -> Evidence:
    """Without work the platform goes down to no worker at all; the next request starts one in time."""
    endpoint = Endpoint.of(stack, "thinking")
    budget = stack.environment.thinking.serverless.cold_start_budget_seconds
    findings = _scales_to_zero(stack, endpoint)
    if findings:
        return refuted("it never scales to zero", *findings)
    streamed = endpoint.stream("?", 1)
    seconds = streamed.first_token_seconds
    if seconds is None or seconds > budget:
        observed = "no token" if seconds is None else f"{seconds:.1f} s"
        remedy = "a smaller model or image, or a larger cold_start_budget_seconds if people can wait"
        findings.append(Finding(f"first token within {budget:g} s", observed, endpoint.url, remedy))
    summary = f"no worker while idle; first token {seconds or 0:.2f} s after the request"
    return judge(summary, findings, cold_start_seconds=round(seconds or 0.0, 3))


def _scales_to_zero(stack: Stack, endpoint: Endpoint) -> list[Finding]:
    """Wait until there is no worker. Whenever somebody else's job runs, the idle time counts anew."""
    idle_seconds = stack.environment.thinking.serverless.idle_seconds
    limit = idle_seconds + _IDLE_MARGIN
    quiet_since = time.monotonic()
    last_seen: dict[str, int] = {}

    def at_zero_or_late() -> str:
        nonlocal quiet_since, last_seen
        seen = health(stack, endpoint)
        jobs = seen["jobs"]
        if jobs["inProgress"] or jobs["inQueue"] or jobs != last_seen:
            quiet_since, last_seen = time.monotonic(), jobs
        if seen["workers"]["total"] == 0:
            return "zero"
        return f"{seen['workers']}" if time.monotonic() - quiet_since > limit else ""

    pause = counting.poll_seconds if (counting := counts(stack)) else 0.05
    # of somebody else's jobs, a minute's worth is waited for
    found = wait_until("a quiet platform", at_zero_or_late, seconds=limit + 60, longest_pause=pause)
    if found == "zero":
        return []
    remedy = "it costs money around the clock: set its minimum of workers to 0 and its idle timeout"
    expected = f"no worker {idle_seconds:g} s after the last job (and {_IDLE_MARGIN:g} s to end it)"
    return [Finding(expected, f"workers {found}", f"{endpoint.url}/health", remedy)]


@check("thinking.burst", component="thinking", turn=Turn.HEAVY, within=WITHIN)
def burst(stack: Stack) -> Evidence:
    """However many ask at once, there are never more workers, nor requests on them, than declared."""
    endpoint = Endpoint.of(stack, "thinking")
    declared = stack.environment.thinking.serverless
    limits = {"workers": declared.max_workers, "jobs": declared.max_workers * declared.concurrency}
    count = limits["jobs"] + 3
    over = threading.Event()
    with ThreadPoolExecutor(count + 1) as pool:
        watcher = pool.submit(_peaks, stack, endpoint, over)
        try:
            statuses = set(
                pool.map(lambda _: endpoint.chat("?", 8, ignore_eos=True).status_code, range(count))
            )
        finally:
            over.set()
        most = watcher.result()
    where = f"{endpoint.url}/health during {count} requests at once"
    remedy = "lower the platform's limit: each worker costs money"
    findings = [
        Finding(f"at most {limit} {name}", f"{most[name]} {name}", where, remedy)
        for name, limit in limits.items()
        if most[name] > limit
    ]
    if statuses != {200}:
        observed = ", ".join(map(str, sorted(statuses)))
        findings.append(Finding("all answered with 200", observed, where, "read the platform's log"))
    peaks = ", ".join(f"{value} {name}" for name, value in most.items())
    return judge(f"{count} requests at once: at most {peaks}", findings, **most)


def _peaks(stack: Stack, endpoint: Endpoint, over: threading.Event) -> dict[str, int]:
    """The most workers, jobs on them and waiting jobs that /health showed until ``over``."""
    most = {"workers": 0, "jobs": 0, "waiting": 0}
    pause = counting.poll_seconds if (counting := counts(stack)) else 0.02
    while not over.wait(pause):
        seen = health(stack, endpoint)
        now = {"workers": seen["workers"]["total"], "jobs": seen["jobs"]["inProgress"],
               "waiting": seen["jobs"]["inQueue"]}  # fmt: skip
        most = {name: max(most[name], now[name]) for name in most}
    return most


@check("thinking.execution_timeout", component="thinking", within=WITHIN)
def execution_timeout(stack: Stack) -> Evidence:
    """A job that runs longer than it may is aborted, and not tried again."""
    endpoint = Endpoint.of(stack, "thinking")
    mark = stack.logs.mark("thinking")  # first: where there is no log, no worker need be paid for
    wake(stack)
    limit = 0.5
    name = f"harness-timeout-{time.monotonic_ns()}"
    headers = {"X-Execution-Timeout-Ms": f"{limit * 1000:.0f}", "X-Request-ID": name}
    answer = endpoint.chat("Count to a thousand.", None, headers=headers, ignore_eos=True)
    where = f"{endpoint.url}: execution timeout"
    findings = []
    if answer.status_code != 504:
        observed = f"{answer.status_code} after {answer.elapsed.total_seconds():.1f} s"
        remedy = "the platform does not abort jobs: set its execution timeout"
        findings.append(Finding(f"504 after {limit:g} s of execution", observed, where, remedy))
    runs = _runs(stack, endpoint, mark, name)
    if runs != 1:
        findings.append(Finding("one run of the job", f"{runs} runs", where, "switch retries off"))
    return judge(f"a job limited to {limit:g} s ended with {answer.status_code}, ran once", findings)


@check("thinking.hung_worker", component="thinking", effect=Effect.DISTURBS, within=WITHIN)
def hung_worker(stack: Stack) -> Evidence:
    """A worker that hangs is noticed by a job it does not do, and replaced; /health says 200 all along."""
    endpoint = Endpoint.of(stack, "thinking")
    control(stack).workers()  # where nobody can touch a worker, none need be paid for
    wake(stack)
    started = time.monotonic()
    where = f"{endpoint.url}: a worker under SIGSTOP"
    findings = []
    with control(stack).workers_paused() as hung:
        status = endpoint.client.get("/health", timeout=5.0).status_code
        try:
            aborted = endpoint.chat("?", 1, within=5.0, headers={"X-Execution-Timeout-Ms": "500"})
            if aborted.status_code != 504:
                findings.append(Finding("504", str(aborted.status_code), where, "read the platform's log"))
        except httpx.ReadTimeout:
            remedy = "the platform waits for ever: set its execution timeout"
            findings.append(Finding("504 at the execution timeout", "no answer within 5 s", where, remedy))
        findings += _replaced(stack, endpoint, hung, where)
    took = time.monotonic() - started
    summary = f"/health {status}, job aborted, worker {hung} replaced and answering after {took:.1f} s"
    return judge(summary, findings, seconds=round(took, 2))


def _replaced(stack: Stack, endpoint: Endpoint, hung: list[int], where: str) -> list[Finding]:
    seconds = stack.environment.thinking.recover_within_seconds
    try:
        wait_until(
            "another worker",
            lambda: endpoint.chat("?", 1, within=5.0).status_code == 200,
            seconds=seconds,
            errors=(httpx.TransportError,),
        )
    except DeadlineExceeded as error:
        remedy = "the platform trusts a health status: make it ask for a token"
        return [
            Finding(f"another worker that answers within {seconds:g} s", error.last_seen, where, remedy)
        ]
    still = sorted(set(hung) & set(control(stack).workers()))
    if still:
        return [Finding("the hung worker is gone", f"{still} still there", where, "it must be killed")]
    return []
