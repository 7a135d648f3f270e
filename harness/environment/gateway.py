"""The gateway: the FastAPI front door, run locally under uvicorn or as a container on hosts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.environment.base import Host, Port, Positive, SecretReference, Strict, Url

__all__ = ["DockerGateway", "Gateway", "Limits", "LocalGateway"]


class Limits(Strict):
    """What the gateway allows. Tokens are prompt plus completion."""

    request_tokens: Positive
    """Most tokens that one request may use."""
    user_tokens_per_day: Positive
    """Most tokens that one user may use in 24 hours."""
    user_concurrency: Positive
    """Most requests of one user in flight."""
    thinking_tokens_per_day: Positive
    """The thinking budget of everybody together, in 24 hours."""


class _Gateway(Strict):
    url: Url
    """Where the web app reaches the gateway."""
    limits: Limits
    """What one request, one user and everybody together may use."""
    metrics_token: SecretReference
    """Bearer token that /metrics demands."""
    database_password: SecretReference
    """Password of the database role `gateway`."""
    log_level: Literal["debug", "info", "warning"] = "info"
    """Least severe level that is logged."""


class LocalGateway(_Gateway):
    """uvicorn under the local process manager."""

    provider: Literal["local"]
    port: Port = 8000
    """Loopback port of the gateway; that of `url`."""
    reload: bool = False
    """Restart when a source file changes (for daily work)."""


class DockerGateway(_Gateway):
    """A container on hosts reached over ssh, behind a TLS load balancer."""

    provider: Literal["docker"]
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    """Machines that run the container, reached over ssh."""
    ssh_user: str
    """User to log in as; may talk to the Docker engine."""
    ssh_key: SecretReference
    """Private key of that user."""
    registry: Host
    """Registry that the image is pulled from."""
    image: str
    """Repository of the image in the registry; a release pins it by digest."""


Gateway = Annotated[LocalGateway | DockerGateway, Field(discriminator="provider")]
