"""Where Supabase Auth sends people back to: read from what configures it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import ConfigurationError, NoProvider, Problem
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
    raise NoProvider("nothing reads a hosted project's Auth settings (Management API) yet")


_READERS: dict[str, Callable[[Stack], AuthSettings]] = {"local": _from_file, "cloud": _from_project}


def auth_settings(stack: Stack) -> AuthSettings:
    """The sign-in addresses that Supabase Auth of this environment is configured with.

    Raises:
        ConfigurationError: when they cannot be read.
        NoProvider: for a hosted project.
    """
    return _READERS[stack.environment.supabase.provider](stack)
