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
    caller: bool = False
    """Whether it is a function that runs with its caller's rights: it can do no more than they."""
    blind: Literal["all"] | tuple[str, ...] = ()
    """The conditions whose loss trying would not notice."""

    def written(self) -> str | dict[str, Any]:
        """As a declaration has it: the digest alone where there is nothing else to say."""
        data: dict[str, Any] = {"digest": self.digest}
        if self.caller:
            data["caller"] = True
        if self.blind:
            data["blind"] = self.blind if self.blind == ALL else list(self.blind)
        return data if len(data) > 1 else self.digest


def _whole(value: Any) -> Any:
    return {"digest": value} if isinstance(value, str) else value


def _conditions(value: Any) -> Any:
    """Lists as tuples: after a validator of one's own, strict pydantic takes no list for one."""
    if isinstance(value, dict) and isinstance(value.get("blind"), list):
        return {**value, "blind": tuple(value["blind"])}
    return value


Origins = dict[str, Annotated[Origin, BeforeValidator(lambda value: _conditions(_whole(value)))]]
"""By what findings call it."""
