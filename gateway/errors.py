"""What the gateway answers when it does not serve: one shape, OpenAI's, with the request id."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import msgspec

__all__ = ["Refusal", "Refused", "body", "event", "seconds_to_midnight"]


@dataclass(frozen=True)
class Refusal:
    """An answer other than the one asked for. ``message`` is fixed text: it never quotes the request.

    ``retry_after`` is in seconds; ``close`` drops the connection after the answer.
    """

    status: int
    code: str
    message: str
    retry_after: int | None = None
    close: bool = False

    @property
    def type(self) -> str:
        """OpenAI's error type for the status."""
        known = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
        if self.status == 429:
            return "rate_limit_error"
        return known.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")


class Refused(Exception):
    """Raised to answer with ``refusal``. Never shared: an exception keeps its frames."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


def body(refusal: Refusal, request_id: str) -> bytes:
    """The JSON body of an error response."""
    return msgspec.json.encode(
        {
            "error": {
                "message": refusal.message,
                "type": refusal.type,
                "code": refusal.code,
                "request_id": request_id,
            }
        }
    )


def event(refusal: Refusal, request_id: str) -> bytes:
    """The same as an event of a stream that has already begun."""
    return b"data: " + body(refusal, request_id) + b"\n\n"


def seconds_to_midnight() -> int:
    """Until the ledger's day ends (UTC), in whole seconds, at least one."""
    now = dt.datetime.now(dt.UTC)
    midnight = (now + dt.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(1, int((midnight - now).total_seconds()) + 1)
