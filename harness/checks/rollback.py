"""The way back: is there something to go back to, and does it work?"""

from __future__ import annotations

from harness.checks.base import check
from harness.checks.rollout import rolls_out
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.stack import Stack

__all__ = ["gateway_redeployed", "inference_reconfigured", "web_reverted"]

_ANSWERS = {
    "/health/live": "read its log: it does not start with the settings that it had",
    "/health/ready": "what it depends on has changed since it served: go back further, or make it fit",
}

# Each names its component, so that a missing provider of the component itself is said first.


@check("rollback.web", component="web")
def web_reverted(stack: Stack) -> Evidence:
    """The previous deployment of the web app is kept, and serving it again takes seconds."""
    raise NoProvider("nothing keeps or promotes the web app's previous deployment yet")


@check("rollback.gateway", component="gateway")
def gateway_redeployed(stack: Stack) -> Evidence:
    """Every gateway keeps what served before, and it starts and answers beside what serves now."""
    provider = rolls_out(stack)
    kept = provider.kept()
    findings = [
        Finding(
            "the image that served before, to go back to",
            "none is kept",
            f"the gateway on {machine}",
            "the first release has none: deploy a second one; else find out who prunes containers there",
        )
        for machine, digest in kept.items()
        if not digest
    ]
    answers = {} if findings else provider.try_kept()
    for machine, seen in answers.items():
        findings += [
            Finding(
                f"200 from {path}", str(seen.get(path, "no answer")), f"the kept image on {machine}", remedy
            )
            for path, remedy in _ANSWERS.items()
            if seen.get(path) != 200
        ]
    return judge(f"{len(kept)} gateways keep a previous image that starts", findings, kept=dict(kept))


@check("rollback.inference", component="instant", needs=("thinking",))
def inference_reconfigured(stack: Stack) -> Evidence:
    """The previous model version and engine configuration are kept, and can be started again."""
    raise NoProvider("nothing keeps the engines' previous configuration yet")
