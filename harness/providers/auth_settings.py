"""Where Supabase Auth sends people back to: read from what configures it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import ConfigurationError, Problem
from harness.providers.supabase_management import management_api
from harness.stack import Stack

__all__ = ["AuthSettings", "auth_settings"]


@dataclass(frozen=True)
class AuthSettings:
    """``where`` says what was read: a file, or the project's API."""

    site_url: str
    redirect_urls: tuple[str, ...]
    where: str


def _from_file(stack: Stack) -> AuthSettings:
    name = "supabase/config.toml"
    try:
        auth = tomllib.loads((stack.root / name).read_text(encoding="utf-8")).get("auth", {})
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            [Problem(name, f"cannot be read: {error}")], title="sign-in addresses"
        ) from None
    return AuthSettings(
        str(auth.get("site_url", "")), tuple(auth.get("additional_redirect_urls", ())), name
    )


def _from_project(stack: Stack) -> AuthSettings:
    api = management_api(stack)
    auth = api.auth()
    listed = (auth.uri_allow_list or "").split(",")
    redirects = tuple(url.strip() for url in listed if url.strip())
    return AuthSettings(auth.site_url or "", redirects, api.where("config/auth"))


_READERS: dict[str, Callable[[Stack], AuthSettings]] = {"local": _from_file, "cloud": _from_project}


def auth_settings(stack: Stack) -> AuthSettings:
    """The sign-in addresses that Supabase Auth of this environment is configured with.

    Raises:
        ConfigurationError: when they cannot be read.
        ManagementError: when a hosted project refuses to say.
        httpx.TransportError: when it does not answer.
    """
    return _READERS[stack.environment.supabase.provider](stack)
