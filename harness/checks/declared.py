"""Would the gateway start with what each environment file declares?"""

from __future__ import annotations

import secrets as random

from harness.checks.base import check
from harness.checks.gateway_target import observed_gateway
from harness.checks.settings import validate
from harness.environment.loader import load
from harness.errors import HarnessError
from harness.evidence import Evidence, Finding, judge
from harness.providers.gateway_environment import gateway_settings, reveal
from harness.secrets import Secret, SecretStore
from harness.stack import Stack

__all__ = ["every_environment"]


@check("gateway.settings.declared", component="gateway")
def every_environment(stack: Stack) -> Evidence:
    """The gateway's own validation accepts the settings that every environment file declares.

    Secrets are not needed for it: in their place stand random values of the same kind.
    """
    names = sorted(path.stem for path in (stack.root / "environments").glob("*.yaml"))
    if not names:
        raise HarnessError(f"there is no environment file in {stack.root / 'environments'}")
    release = observed_gateway(stack).release
    stand_ins = _StandIns(stack.root, stack.state)
    environs = [
        {
            name: reveal(value)
            for name, value in gateway_settings(
                load(environment, stack.root).environment, stand_ins, release
            ).items()
        }
        for environment in names
    ]
    findings = [
        Finding("settings that the gateway accepts", problem, f"environments/{name}.yaml", "correct them")
        for name, problems in zip(names, validate(stack, environs), strict=True)
        for problem in problems
    ]
    return judge(f"accepted: {', '.join(names)}", findings, environments=names)


class _StandIns(SecretStore):
    """Random values in place of secrets that this machine does not have."""

    def resolve(self, reference: str) -> Secret:
        """A random value; long enough for any key."""
        return Secret(random.token_urlsafe(36), reference)
