"""How a Data API is asked, by whom, and what is said of what cannot be asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from harness.database.data_api_answers import answered_by_database, outcome, token_accepted, unknown
from harness.database.findings import Found, Gap
from harness.database.oracle import Actor, Subject
from harness.database.prober import Prober
from harness.database.static_trusted import in_use

__all__ = ["Api", "Asker"]


@dataclass(frozen=True)
class Api:
    """A Data API, and two users ``a`` and ``b`` for whom ``token`` makes access tokens.

    ``bad_tokens`` make tokens for a user id that the API must refuse.
    """

    client: httpx.Client
    anon_key: str
    service_key: str
    a: str
    b: str
    token: Callable[[str], str]
    bad_tokens: dict[str, Callable[[str], str]] = field(default_factory=dict)

    def headers(self, actor: Actor) -> dict[str, str]:
        """What identifies ``actor``."""
        if actor.role == "service_role":
            return {"apikey": self.service_key, "Authorization": f"Bearer {self.service_key}"}
        if actor.user is None:
            return {"apikey": self.anon_key}
        return {"apikey": self.anon_key, "Authorization": f"Bearer {self.token(actor.user)}"}


@dataclass
class Asker:
    """Asks ``api`` for what ``prober`` has planted; ``journal`` lists what is to be removed."""

    prober: Prober
    api: Api
    journal: Path
    count: int = 0
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    """What concerns the API as a whole."""

    def may(
        self, subject: Subject, actor: Actor, row: dict[str, Any], command: str, *, new: bool = False
    ) -> bool | None:
        """What is declared of it; nothing, when nothing is to be expected."""
        if actor.role == "service_role":  # where it reads nothing that is exposed, it is not used
            return True if in_use(self.prober.catalogue, self.prober.declaration, actor.role) else None
        with self.prober.session.opened():
            return self.prober.expected(subject, actor, row, new=new)[command]

    def send(
        self,
        method: str,
        path: str,
        identity: dict[str, str],
        schema: str,
        title: str,
        body: Any = None,
        prefer: str = "return=minimal",
    ) -> httpx.Response:
        """Ask for something of ``schema`` as whom ``identity`` (headers) says; an outage of it is said."""
        self.count += 1
        profile = "Accept-Profile" if method == "GET" else "Content-Profile"
        sent = {**identity, "Prefer": prefer, profile: schema}
        content = None if body is None else json.dumps(body)
        if content is not None:
            sent["Content-Type"] = "application/json"
        answer = self.api.client.request(method, path, headers=sent, content=content)
        if answer.is_server_error:
            why = f"the Data API answered {method} with HTTP {answer.status_code}: that denies nothing"
            self.gap(title, why, "see its log")
        return answer

    def refused(self, method: str, path: str, schema: str, title: str, body: Any = None) -> None:
        """Nobody is served who brings a bad token for A: neither as A, nor as somebody without one."""
        user = self.prober.worlds["A"].user
        for name, make in self.api.bad_tokens.items():
            identity = {"apikey": self.api.anon_key, "Authorization": f"Bearer {make(user)}"}
            answer = self.send(method, path, identity, schema, title, body)
            if answer.is_success or answered_by_database(answer):
                self.found.append(token_accepted(name, answer))
            elif answer.status_code not in (401, 403) and not answer.is_server_error:
                why = f"the {name} was answered with HTTP {answer.status_code}: that refuses no token"
                self.gap(title, why, "see the Data API's log")

    def gap(self, title: str, why: str, hint: str = "") -> None:
        """Say once what is not proven."""
        if (gap := Gap(title, why, hint)) not in self.gaps:
            self.gaps.append(gap)

    def note(self, title: str, what: str) -> None:
        """Say once what is not tried here: it counts for nothing, and SQL has to prove it."""
        if (note := f"{title}: not tried through the Data API: {what}") not in self.notes:
            self.notes.append(note)

    def unknown(self, title: str, answer: httpx.Response) -> bool:
        """Whether the Data API does not know what it was asked for: that denies nothing, and is said."""
        if not unknown(answer):
            return False
        why = f"the Data API does not know it: {outcome(answer).message}"
        self.gap(title, why, "let it read its schema again; see its db-schemas")
        return True

    def unset(self, subject: Subject, actor: Actor) -> bool:
        """Whether what ``actor`` may do rests on settings that the Data API does not make."""
        made = [name for name in self.prober.declaration.settings if not name.startswith("request.")]
        if made and actor.user:
            self.note(subject.title, f"what its owner may do (the Data API does not set {', '.join(made)})")
        return bool(made) and actor.user is not None
