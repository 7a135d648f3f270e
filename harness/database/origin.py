"""What a policy, view or function was when a declaration was written from the database."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from harness.environment.base import Strict

__all__ = ["ALL", "Origin", "Origins"]

ALL: Literal["all"] = "all"
"""Stands for every condition: nothing is known of what trying would notice."""


class Origin(Strict):
    """A digest, and what trying would not notice the loss of (see told_apart.py)."""

    digest: str = Field(pattern=r"^x[0-9a-f]{12}$")
    """Tells a change from none."""
    blind: Literal["all"] | tuple[str, ...] = ()
    """The conditions whose loss trying would not notice."""

    def written(self) -> str | dict[str, Any]:
        """As a declaration has it: the digest alone where there is nothing else to say."""
        if not self.blind:
            return self.digest
        return {"digest": self.digest, "blind": self.blind if self.blind == ALL else list(self.blind)}


def _read(value: Any) -> Any:
    """A digest alone as what it stands for; lists as tuples, which strict pydantic wants."""
    if isinstance(value, str):
        return {"digest": value}
    if isinstance(value, dict) and isinstance(value.get("blind"), list):
        return {**value, "blind": tuple(value["blind"])}
    return value


Origins = dict[str, Annotated[Origin, BeforeValidator(_read)]]
"""By what findings call it."""
