"""The web app: a Next.js build, served locally or by Vercel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.environment.base import Host, Port, SecretReference, Strict, Url

__all__ = ["LocalWeb", "VercelWeb", "Web"]


class _Web(Strict):
    url: Url
    """Where people reach the web app in this environment."""
    sign_in: Literal["link", "supabase"] = "supabase"
    """supabase: by e-mail through Supabase Auth; link: by a link from `harness sign-in`."""
    error_dsn: SecretReference | None = None
    """Sentry DSN; without one, errors go to the loopback sink on `error_sink_port`."""
    probe_token: SecretReference
    """Whoever sends it may make the web app throw, to prove that the error is reported."""


class LocalWeb(_Web):
    """`next start` (or `next dev`) under the local process manager."""

    provider: Literal["local"]
    port: Port = 3000
    """Loopback port of the app; that of `url`."""
    mode: Literal["production", "dev"] = "production"
    """production: a build under `next start`; dev: `next dev`."""
    error_sink_port: Port = 3001
    """Loopback port of the sink that stands in for Sentry."""


class VercelWeb(_Web):
    """A Vercel project."""

    provider: Literal["vercel"]
    project: str
    """Name or id of the Vercel project."""
    team: str
    """Team that owns the project."""
    target: Literal["preview", "production"]
    """preview: a deployment of its own; production: staged, then promoted to the domain."""
    token: SecretReference
    """Vercel access token, allowed to deploy this project."""
    domain: Host | None = None
    """Custom domain that must point to the deployment."""
    management_url: Url = "https://api.vercel.com"
    """Vercel's REST API."""


Web = Annotated[LocalWeb | VercelWeb, Field(discriminator="provider")]
