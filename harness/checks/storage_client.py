"""How the Storage API is asked, and by whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

from harness.evidence import Finding
from harness.identity import mint
from harness.secrets import Secret
from harness.stack import Stack

__all__ = ["StorageClient", "finding"]


@dataclass
class StorageClient:
    """Requests to the stack's Storage API; ``people`` are the names of the users by their id."""

    stack: Stack
    people: dict[str, str] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The token of the service role."""
        return self.stack.identities.service_role_key().reveal()

    @property
    def anonymous(self) -> str:
        """What callers without a token of their own bring."""
        return self.stack.identities.anon_key().reveal()

    def token(self, user: str) -> str:
        """The user's token."""
        return self.stack.identities.token(self.people[user]).reveal()

    def bad_tokens(self, user: str) -> dict[str, str]:
        """Tokens for the user that must be refused."""
        expired = self.stack.identities.token(self.people[user], ttl_seconds=-60).reveal()
        claims = {"sub": user, "role": "authenticated", "aud": "authenticated", "exp": 2082758400}
        forged = mint(Secret("not-the-secret-of-this-project-at-all"), claims).reveal()
        return {"an expired token": expired, "a forged token": forged}

    def object(self, method: str, route: str, token: str, **body: Any) -> httpx.Response:
        """Ask for a file."""
        return self.send(method, f"/storage/v1/object/{route}", token, **body)

    def send(self, method: str, path: str, token: str, **body: Any) -> httpx.Response:
        """Ask for anything."""
        headers = {"apikey": self.anonymous, "Authorization": f"Bearer {token}", **body.pop("headers", {})}
        client = self.stack.http(self.stack.environment.supabase.api_url)
        return client.request(method, path, headers=headers, **body)


def finding(expected: str, where: str, answer: httpx.Response) -> Finding:
    """What an answer comes to that should have been another one."""
    remedy = "compare the bucket and the policies on storage.objects with their migration"
    return Finding(expected, f"HTTP {answer.status_code}", f"Storage API, {where}", remedy)
