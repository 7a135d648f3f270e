"""Does every gateway run this release, and can it be replaced, and taken back, without anybody noticing?"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from harness.checks import gateway
from harness.checks.base import Effect, check
from harness.checks.traffic import Traffic, traffic
from harness.errors import DeployError, NoProvider, RolledBack
from harness.evidence import Evidence, Finding, judge
from harness.providers.base import Deployment, Progress
from harness.stack import Stack

__all__ = ["RollsOut", "bad_image", "digests", "locked_out", "rolls_out", "unnoticed"]


@runtime_checkable
class RollsOut(Protocol):
    """A provider that replaces gateways one after the other, and can take them back."""

    def released(self) -> str:
        """The digest of this release's image."""
        ...

    def running(self) -> Mapping[str, str]:
        """Machine: digest of what its gateway runs."""
        ...

    def kept(self) -> Mapping[str, str]:
        """Machine: digest of what it would go back to."""
        ...

    def try_kept(self) -> Mapping[str, Mapping[str, int | str]]:
        """Machine: what a container of the kept image answers (path: status)."""
        ...

    def another(self, *, bad: bool = False) -> str:
        """The digest of an image to roll out in a drill; ``bad``: one that does not start."""
        ...

    def roll_to(self, digest: str) -> float:
        """Bring every gateway to the image ``digest``; the seconds that it took."""
        ...

    def locked(self) -> AbstractContextManager[Any]:
        """The deploy lock, held for the block."""
        ...

    def deploy(self, progress: Progress) -> Deployment:
        """Bring every gateway to this release."""
        ...


@check("gateway.image.everywhere", component="gateway")
def digests(stack: Stack) -> Evidence:
    """Every gateway runs this release's image, to the digest."""
    provider = rolls_out(stack)
    wanted, running = provider.released(), provider.running()
    findings = [
        Finding(
            wanted, digest or "no gateway runs", f"the gateway on {machine}", "deploy the gateway again"
        )
        for machine, digest in running.items()
        if digest != wanted
    ]
    return judge(
        f"{len(running)} gateways run {_short(wanted)}", findings, digest=wanted, machines=dict(running)
    )


@check("gateway.rollout", component="gateway", effect=Effect.DISTURBS, within=300.0)
def unnoticed(stack: Stack, per_second: float, seconds: float) -> Evidence:
    """All gateways go to another image and back under steady traffic: nothing fails, nothing is cut."""
    provider = rolls_out(stack)
    wanted, other = provider.released(), provider.another()
    with traffic(stack, per_second) as seen:
        forth = provider.roll_to(other)
        findings = [*_verified(stack, provider, other), *_not_kept(provider, wanted)]
        back = provider.roll_to(wanted)
    findings += [*_verified(stack, provider, wanted), *_not_kept(provider, other)]
    findings += _unanswered(stack, seen)
    for name, took in (("to the other image", forth), ("back", back)):
        if took > seconds:
            remedy = "see which step takes long: requests under way, or a gateway that starts slowly"
            where = f"{stack.environment.gateway.url}: rollout {name}"
            findings.append(Finding(f"within {seconds:g} s", f"{took:.1f} s", where, remedy))
    summary = f"replaced in {forth:.1f} s, taken back in {back:.1f} s at {per_second:g} requests/s: {seen}"
    return judge(
        summary, findings, forth_seconds=round(forth, 2), back_seconds=round(back, 2), **_facts(seen)
    )


@check("gateway.rollout.bad", component="gateway", effect=Effect.DISTURBS, within=300.0)
def bad_image(stack: Stack, per_second: float, seconds: float) -> Evidence:
    """An image that does not start stops at the first gateway, and what served serves again by itself."""
    provider = rolls_out(stack)
    before, bad = provider.running(), provider.another(bad=True)
    back: RolledBack | None = None
    with traffic(stack, per_second, streams=1) as seen:
        try:
            provider.roll_to(bad)
        except RolledBack as error:
            back = error
    findings = _unanswered(stack, seen)
    where = f"{stack.environment.gateway.url}: rollout of an image that ends when it starts"
    remedy = "wait for /health/ready before the balancer leads requests to a new container"
    if back is None:
        findings.append(Finding("refused and taken back", "rolled out as if it were good", where, remedy))
    elif len(back.machines) != 1:
        findings.append(Finding("one gateway touched", ", ".join(back.machines), where, remedy))
    elif back.seconds > seconds:
        findings.append(Finding(f"back within {seconds:g} s", f"{back.seconds:.2f} s", where, remedy))
    for machine, digest in provider.running().items():
        if digest != before.get(machine):
            observed = digest or "no gateway runs"
            findings.append(Finding(before.get(machine, ""), observed, f"the gateway on {machine}", remedy))
    took = back.seconds if back else 0.0
    touched = ", ".join(back.machines) if back else "none"
    summary = f"{touched} went back in {took:.1f} s; the others were not touched; {seen}"
    return judge(summary, findings, back_seconds=round(took, 2), **_facts(seen))


@check("gateway.deploy_lock", component="gateway", effect=Effect.DISTURBS)
def locked_out(stack: Stack) -> Evidence:
    """While somebody deploys, nobody else can, and is told who does and since when."""
    provider = rolls_out(stack)
    said = ""
    with provider.locked():
        try:
            provider.deploy(lambda _: None)
        except DeployError as error:
            said = str(error)
    findings = []
    for word in ("somebody else deploys", "pid", "since"):
        if word not in said:
            where = f"{stack.environment.gateway.url}: a second deploy at the same time"
            remedy = "take the deploy lock before anything is changed"
            expected = "refused, naming who deploys and since when"
            findings = [Finding(expected, said or "it deployed", where, remedy)]
    return judge(said.partition("\n")[0], findings)


def rolls_out(stack: Stack) -> RollsOut:
    """The provider of the gateway, as something that rolls images out.

    Raises:
        NoProvider: when the environment's provider does not.
    """
    provider = stack.provider("gateway")
    if not isinstance(provider, RollsOut):
        raise NoProvider("nothing rolls out images of this environment's gateway")
    return provider


def _verified(stack: Stack, provider: RollsOut, digest: str) -> list[Finding]:
    """What does not hold of gateways that all should run ``digest`` now."""
    where = "replace every gateway before the rollout ends"
    wrong = [
        Finding(digest, seen or "no gateway runs", f"the gateway on {machine}", where)
        for machine, seen in provider.running().items()
        if seen != digest
    ]
    for verify in (gateway.live, gateway.ready):
        evidence = verify(stack)
        wrong += evidence.findings
        if not evidence.verdict.passes and not evidence.findings:
            url = stack.environment.gateway.url
            wrong.append(Finding("an answer", evidence.summary, url, "read the gateways' logs"))
    return wrong


def _not_kept(provider: RollsOut, digest: str) -> list[Finding]:
    """The gateways that could not go back to ``digest``, which served before."""
    remedy = "keep the container that served before until the next rollout has succeeded"
    return [
        Finding(f"{digest} kept", kept or "no previous image", f"the gateway on {machine}", remedy)
        for machine, kept in provider.kept().items()
        if kept != digest
    ]


def _unanswered(stack: Stack, seen: Traffic) -> list[Finding]:
    url = stack.environment.gateway.url
    remedy = "drain a gateway at the balancer before it is stopped, and let what is under way finish"
    findings = [Finding("every request answered", line, url, remedy) for line in seen.failures[:5]]
    if not seen.requests or not seen.streams:
        findings.append(Finding("requests and streams all the while", str(seen), url, "is there a model?"))
    return findings


def _facts(seen: Traffic) -> dict[str, Any]:
    return {
        "requests": seen.requests,
        "failed": len(seen.failures),
        "streams": seen.streams,
        "p99_ms": seen.p99_ms,
        "traffic_seconds": round(seen.seconds, 1),
    }


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]
