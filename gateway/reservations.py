"""What the gateway and its ledger say to each other about one request."""

from __future__ import annotations

import datetime as dt
import os

import msgspec
from msgspec import UNSET, UnsetType

from gateway.errors import Refusal, seconds_to_midnight

__all__ = ["Reservation", "Settlement", "refusal", "wanted"]


class Reservation(msgspec.Struct):
    """Tokens held for one request. ``id`` is a UUID in 32 hexadecimal digits; ``day`` is a UTC day."""

    id: str
    user: str
    model: str
    tokens: int
    request_id: str
    day: str


class Settlement(msgspec.Struct):
    """What a request really used.

    ``held`` is what was reserved, so that it can be booked even if the ledger has lost the reservation. It
    is left out when nobody knows whether there ever was one, or when nobody waited for it.
    """

    id: str
    prompt: int
    completion: int
    outcome: str
    user: str
    held: Reservation | UnsetType = UNSET


def wanted(user: str, model: str, tokens: int, request_id: str) -> Reservation:
    """A reservation to be asked for."""
    day = dt.datetime.now(dt.UTC).date().isoformat()
    return Reservation(os.urandom(16).hex(), user, model, tokens, request_id, day)


def refusal(word: str) -> Refusal:
    """What a client is told when the ledger answers ``word``."""
    if word == "user_concurrency":
        return Refusal(429, "user_concurrency_exceeded", "too many requests in flight", retry_after=1)
    if word == "user_tokens":
        text = "this user's tokens for today are used up"
        return Refusal(429, "user_tokens_exceeded", text, retry_after=seconds_to_midnight())
    if word == "thinking_tokens":
        text = "today's budget of the thinking model is used up"
        return Refusal(429, "thinking_budget_exceeded", text, retry_after=seconds_to_midnight())
    return Refusal(503, "paused", "the operator has paused this model", retry_after=60)
