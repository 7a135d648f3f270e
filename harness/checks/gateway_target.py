"""What a provider of the gateway can tell about the running one, beyond deploying it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from harness.errors import NoProvider
from harness.stack import Stack

__all__ = ["ObservedGateway", "observed_gateway"]


@runtime_checkable
class ObservedGateway(Protocol):
    """A gateway whose release and settings can be read back."""

    @property
    def release(self) -> str:
        """The release that was deployed."""
        ...

    def declared_settings(self) -> dict[str, str]:
        """Variable: fingerprint, as declared."""
        ...

    def live_settings(self) -> dict[str, str]:
        """Variable: fingerprint, of the running process."""
        ...


def observed_gateway(stack: Stack) -> ObservedGateway:
    """The provider of the gateway, as something to read back from.

    Raises:
        NoProvider: when the environment's provider cannot do that, or does not exist.
    """
    provider = stack.provider("gateway")
    if not isinstance(provider, ObservedGateway):
        raise NoProvider("nothing reads the settings of this environment's running gateway yet")
    return provider
