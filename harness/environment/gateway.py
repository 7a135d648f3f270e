"""The gateway: the FastAPI front door, run locally under uvicorn or as a container on hosts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.environment.base import Port, Positive, SecretReference, Strict, Url
from harness.environment.machines import MachineName

__all__ = ["DockerGateway", "Gateway", "Limits", "LocalGateway", "Tls"]

REGISTRY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?$"


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


class Tls(Strict):
    """What the load balancer promises to browsers and clients."""

    certificate: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")] = "/etc/haproxy/tls/gateway.pem"
    """File on the balancer with certificate, chain and key; whatever renews them puts it there."""
    ca: str | None = None
    """File with the authority to trust, relative to the repository; without one, those of the system."""
    least_days: Positive = 14
    """The certificate must be valid for at least this many days more."""
    least_version: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    """Older protocols must be refused."""
    http_port: Port | None = 80
    """Port that redirects to https; null: nothing listens there."""


class DockerGateway(_Gateway):
    """A container on hosts reached over ssh, behind a TLS load balancer."""

    provider: Literal["docker"]
    hosts: Annotated[tuple[MachineName, ...], Field(min_length=1)]
    """Machines that run the container (names from `machines.hosts`)."""
    balancer: MachineName
    """Machine with the load balancer (haproxy) that `url` leads to."""
    port: Port = 8000
    """Port of the container on its machine; only the balancer and the operator may reach it."""
    tls: Tls = Tls()
    """What the load balancer promises."""
    registry: Annotated[str, Field(pattern=REGISTRY_PATTERN)]
    """Registry that the image is pulled from; one on loopback is forwarded to the machines over ssh."""
    image: str
    """Repository of the image in the registry; a release pins it by digest."""
    user: str = "10001:10001"
    """User and group that the container runs as; not root."""
    drain_seconds: Positive = 60
    """Longest wait for requests under way before a gateway is replaced."""
    ready_seconds: Positive = 30
    """A new container must be ready within this, or the old one is started again."""
    largest_image_mib: Positive = 300
    """The image must not be larger, unpacked."""


Gateway = Annotated[LocalGateway | DockerGateway, Field(discriminator="provider")]
