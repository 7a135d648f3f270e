"""What every part of an environment file shares."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness.secrets import REFERENCE_PATTERN, parse_reference

__all__ = ["HOST_PATTERN", "Host", "Port", "Positive", "SecretReference", "Strict", "Url"]


class Strict(BaseModel):
    """A frozen model that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def _url(text: str) -> str:
    """``text`` without its last slash.

    Raises:
        ValueError: when it is not a plain http(s) URL. Never repeats the text: it may hold a password.
    """
    if not text.startswith(("http://", "https://")) or not text.isascii() or not text.isprintable():
        raise ValueError("a URL begins with http:// or https://")
    parts = urlsplit(text)
    if not parts.hostname or " " in text or parts.port == 0:
        raise ValueError("a URL names a host: https://HOST[:PORT][/PATH]")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL holds no user name and no password: use a secret reference")
    if parts.query or parts.fragment:
        raise ValueError("a base URL ends before ? and #")
    return text.rstrip("/")


SecretReference = Annotated[
    str, AfterValidator(parse_reference), Field(json_schema_extra={"pattern": REFERENCE_PATTERN})
]
Url = Annotated[
    str, AfterValidator(_url), Field(json_schema_extra={"format": "uri", "pattern": "^https?://[^\\s]+$"})
]
HOST_PATTERN = "^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"
Host = Annotated[str, Field(pattern=HOST_PATTERN)]
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]
