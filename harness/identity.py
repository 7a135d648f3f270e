"""Access tokens for test users, and a project's two keys, minted from the project's JWT secret.

The tokens are what Supabase Auth would issue: HS256, with the claims that PostgREST and the gateway read.
Nothing is written anywhere: a test user that must exist in `auth.users` is planted by whoever needs it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.jwk import OctKey

from harness.secrets import Secret

if TYPE_CHECKING:
    from harness.stack import Stack

__all__ = ["LocalIdentities", "mint", "user_id"]

_USERS = uuid.uuid5(uuid.NAMESPACE_DNS, "users.chat-stack.test")
# A project's keys do not change from run to run (they are compiled into the web app): fixed times.
_KEYS_ISSUED = 1767225600  # 2026-01-01
_KEYS_EXPIRE = 2082758400  # 2036-01-01


def user_id(name: str) -> str:
    """The UUID of the test user ``name``; the seed's demo users alice and bob have theirs from here."""
    return str(uuid.uuid5(_USERS, name))


def mint(secret: Secret, claims: Mapping[str, Any]) -> Secret:
    """A token with ``claims``, signed with ``secret`` (HS256)."""
    key = OctKey.import_key(secret.reveal())
    return Secret(jwt.encode({"alg": "HS256", "typ": "JWT"}, dict(claims), key))


class LocalIdentities:
    """Implements :class:`harness.stack.Identities` for a stack whose JWT secret is known."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._tokens: dict[tuple[str, int], tuple[float, Secret]] = {}
        self._lock = threading.Lock()

    @property
    def _secret(self) -> Secret:
        return self._stack.secret(self._stack.environment.supabase.jwt_secret)

    def _key(self, role: str, reference: str | None) -> Secret:
        """The key that the environment names, or else one minted for ``role``; always the same one."""
        if reference:
            return self._stack.secret(reference)
        claims = {"iss": "supabase", "role": role, "iat": _KEYS_ISSUED, "exp": _KEYS_EXPIRE}
        return mint(self._secret, claims)

    def user_id(self, name: str) -> str:
        """The UUID of the test user ``name``."""
        return user_id(name)

    def token(self, name: str, *, ttl_seconds: int = 600) -> Secret:
        """An access token of the test user ``name``, valid for ``ttl_seconds`` (negative: expired).

        A token is given out again for the first tenth of its life, so that callers need not keep it.
        """
        with self._lock:
            issued, token = self._tokens.get((name, ttl_seconds), (0.0, None))
            if token is None or time.monotonic() - issued > ttl_seconds / 10:
                token = mint(self._secret, self._claims(name, ttl_seconds))
                self._tokens[name, ttl_seconds] = (time.monotonic(), token)
            return token

    def _claims(self, name: str, ttl_seconds: int) -> dict[str, Any]:
        now = int(time.time())
        return {
            "iss": f"{self._stack.environment.supabase.api_url}/auth/v1",
            "aud": "authenticated",
            "role": "authenticated",
            "sub": user_id(name),
            "email": f"{name}@chat-stack.test",
            "session_id": str(uuid.uuid4()),
            "is_anonymous": False,
            "aal": "aal1",
            "iat": min(now, now + ttl_seconds - 1),
            "exp": now + ttl_seconds,
        }

    def anon_key(self) -> Secret:
        """The project's public key (role anon)."""
        return self._key("anon", self._stack.environment.supabase.anon_key)

    def service_role_key(self) -> Secret:
        """The project's service key (bypasses RLS)."""
        return self._key("service_role", self._stack.environment.supabase.service_role_key)
