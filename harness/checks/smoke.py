"""The smoke test: one conversation across web, gateway, instant, thinking and database."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg

from harness.checks.base import Effect, check
from harness.checks.http import Answer, call, chat
from harness.checks.rls_session import as_owner
from harness.errors import DeadlineExceeded
from harness.evidence import Evidence, Finding, holds, refuted, unreachable
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["conversation"]

_USER = "smoke"
_QUESTION = "Which colour does the sky have?"
_BOOKED_SECONDS = 5.0
_BLAME = {
    "gateway_unreachable": "gateway",
    "gateway_timeout": "gateway",
    "ledger_unavailable": "supabase",
    "keys_unavailable": "supabase",
}
"""Error code: the component that it accuses. `upstream_…` accuses the model, anything else who answered."""


@check(
    "smoke.conversation",
    component="web",
    needs=("supabase", "instant", "thinking", "gateway"),
    effect=Effect.PLANTS,
)
def conversation(stack: Stack) -> Evidence:
    """A user stores a conversation, is answered by both models, finds it all again, and pays for it."""
    journey = _Journey(stack)
    stages: list[tuple[str, Callable[[], None]]] = [
        ("supabase", journey.begin),
        ("web", journey.ask_instant),
        ("gateway", journey.ask_thinking),
        ("supabase", journey.read_back),
        ("gateway", journey.find_booked),
        ("supabase", journey.clean_up),
        ("supabase", journey.remove_user),
    ]
    for component, stage in stages:
        stopped = journey.run(component, stage)
        if stopped is not None:
            with contextlib.suppress(psycopg.Error):  # what stopped the journey has been said
                journey.remove_user()
            return stopped
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in journey.took.items())
    return holds(f"one conversation through all five components: {took}", seconds=journey.took)


class _Failed(Exception):
    """A stage saw something else than expected; ``component`` is the culprit."""

    def __init__(self, component: str, expected: str, observed: str, where: str) -> None:
        super().__init__(observed)
        self.component, self.expected, self.observed, self.where = component, expected, observed, where


@dataclass
class _Journey:
    """One conversation of the user `smoke`, from its first row to its last."""

    stack: Stack
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    said: list[tuple[str, str]] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def run(self, component: str, stage: Callable[[], None]) -> Evidence | None:
        """Run ``stage``; evidence when it is the last, naming the culprit."""
        started = time.monotonic()
        name = stage.__name__.replace("_", " ")
        try:
            stage()
        except _Failed as failed:
            where = f"{failed.component}: {failed.where}"
            remedy = f"look at {failed.component}: its log, and its own checks"
            finding = Finding(failed.expected, failed.observed, where, remedy)
            return refuted(f"{failed.component} failed at {name!r}: {failed.observed}", finding)
        except (httpx.TransportError, psycopg.OperationalError) as error:
            return unreachable(f"{component}, at {name!r}", error)
        self.took[name] = round(time.monotonic() - started, 2)
        return None

    # --- stages ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """The user exists, begins a conversation and asks the first question."""
        with as_owner(self.stack) as owner:
            owner.execute(
                "insert into auth.users (id, aud, role, email)"
                " values (%s, 'authenticated', 'authenticated', %s) on conflict do nothing",
                [self.stack.identities.user_id(_USER), f"{_USER}@chat-stack.test"],
            )
        self._data("POST", "conversations", 201, {"id": self.id, "title": "Smoke test"})
        self._store("user", _QUESTION)

    def ask_instant(self) -> None:
        """The question goes to the instant model, through the web app."""
        body = {
            "mode": "instant",
            "messages": [{"role": "user", "content": _QUESTION}],
            "max_tokens": 16,
        }
        url, token = self.stack.environment.web.url, self.stack.identities.token(_USER)
        answer = call(
            self.stack, "POST", "/api/chat", token=token, body=body, url=url, seconds=30.0, purpose="smoke"
        )
        self._keep("instant", "web", answer, f"{url}/api/chat")

    def ask_thinking(self) -> None:
        """The second question goes to the thinking model, through the gateway, streamed."""
        question = "And at night?"
        self._store("user", question)
        budget = self.stack.environment.thinking.serverless.cold_start_budget_seconds
        answer = chat(
            self.stack,
            self.stack.identities.token(_USER),
            question,
            model="thinking",
            max_tokens=16,
            stream=True,
            seconds=budget + self.stack.environment.thinking.answer_within_seconds,
            purpose="smoke",
        )
        self._keep(
            "thinking", "gateway", answer, f"{self.stack.environment.gateway.url}/v1/chat/completions"
        )

    def read_back(self) -> None:
        """What was said is what is stored, in order."""
        query = f"messages?conversation_id=eq.{self.id}&select=role,content&order=created_at"
        rows = self._data("GET", query, 200)
        found = [(row.get("role"), row.get("content")) for row in rows]
        if found != self.said:
            expected = f"the {len(self.said)} messages that were stored, in order"
            roles = ", ".join(str(role) for role, _ in found)
            raise _Failed("supabase", expected, f"{len(found)} messages ({roles})", "messages, read back")

    def find_booked(self) -> None:
        """Both answers are in the ledger, with the tokens that were reported."""
        for request_id, tokens in self.used.items():
            booked = self._booked_in_time(request_id)
            if booked != tokens:
                where = f"usage.entries, request {request_id}"
                raise _Failed("gateway", f"{tokens} tokens booked", f"{booked} booked", where)

    def clean_up(self) -> None:
        """The conversation is deleted by its owner, and its messages with it."""
        self._data("DELETE", f"conversations?id=eq.{self.id}", 204)
        left = self._data("GET", f"messages?conversation_id=eq.{self.id}&select=id", 200)
        if left:
            raise _Failed("supabase", "no message left", f"{len(left)} left", "messages, after the delete")

    def remove_user(self) -> None:
        """The user and everything of theirs but the ledger's entries, which are kept on purpose."""
        with as_owner(self.stack) as owner:
            owner.execute("delete from auth.users where id = %s", [self.stack.identities.user_id(_USER)])

    # --- inside ----------------------------------------------------------------------------------

    def _keep(self, model: str, asked: str, answer: Answer, where: str) -> None:
        """The answer is one, and is stored; what it used is remembered."""
        if answer.status != 200 or not answer.content.strip():
            code = answer.error_code or _code_in(answer)
            culprit = model if code.startswith("upstream") else _BLAME.get(code, asked)
            if answer.status == 200 and not code:
                culprit = model
            observed = f"{answer.status} {code or 'without text'}".strip()
            raise _Failed(culprit, f"an answer of the {model} model", observed, where)
        tokens = int(answer.usage.get("total_tokens") or 0)
        if not tokens:
            raise _Failed("gateway", "usage in the answer", "no usage", where)
        self.used[answer.headers.get("x-request-id", answer.request_id)] = tokens
        self._store("assistant", answer.content)

    def _store(self, role: str, content: str) -> None:
        message = {"conversation_id": self.id, "role": role, "content": content}
        self._data("POST", "messages", 201, message)
        self.said.append((role, content))

    def _data(
        self, method: str, path: str, status: int, body: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One request to the Data API as the user; the rows of its answer."""
        url = self.stack.environment.supabase.api_url
        headers = {"apikey": self.stack.identities.anon_key().reveal()}
        token = self.stack.identities.token(_USER)
        answer = call(
            self.stack, method, f"/rest/v1/{path}", token=token, body=body, headers=headers, url=url
        )
        if answer.status != status:
            observed = f"{answer.status}: {answer.body[:200]}"
            raise _Failed("supabase", str(status), observed, f"{method} {url}/rest/v1/{path}")
        try:
            rows = json.loads(answer.body) if answer.body else []
        except ValueError:
            rows = []
        return rows if isinstance(rows, list) else []

    def _booked_in_time(self, request_id: str) -> int:
        try:
            return wait_until("the booking", lambda: self._booked(request_id), seconds=_BOOKED_SECONDS)
        except DeadlineExceeded:
            return 0

    def _booked(self, request_id: str) -> int:
        with as_owner(self.stack) as owner:
            row = owner.execute(
                "select sum(prompt_tokens + completion_tokens)::bigint from usage.entries"
                " where request_id = %s and kind = 'settled'",
                [request_id],
            ).fetchone()
        return int(row[0] or 0) if row else 0


def _code_in(answer: Answer) -> str:
    """The code of an error in the middle of a stream."""
    errors = (event.get("error") for event in answer.events)
    return next((str(error.get("code", "")) for error in errors if isinstance(error, dict)), "")
