"""Who asks: Supabase access tokens, verified with joserfc and remembered until they expire.

The algorithm decides the kind of key, never the token: HS256 is tried with the shared secret alone, ES256
with published keys alone. Headers that bring keys of their own are refused before anything is verified.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from typing import Any

import aiohttp
import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey
from joserfc.util import urlsafe_b64decode

from gateway.errors import Refusal, Refused
from gateway.logs import Log, describe
from gateway.settings import Settings

__all__ = ["Tokens"]

MOST_BYTES = 8192
MOST_CACHED = 10_000
MOST_KEYS = 32
LEEWAY = 5.0
REVERIFY = 300.0
_ALLOWED_HEADER = {"alg", "typ", "kid"}

MISSING = Refusal(401, "missing_token", "send Authorization: Bearer <access token>")
INVALID = Refusal(401, "invalid_token", "the access token is not valid here")
EXPIRED = Refusal(401, "expired_token", "the access token has expired")
NO_KEYS = Refusal(503, "keys_unavailable", "access tokens cannot be verified at the moment", retry_after=5)


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None


class _Claims(msgspec.Struct):
    sub: str
    iss: str
    aud: str | list[str]
    exp: float
    role: str
    nbf: float | None = None
    iat: float | None = None


_decode_header = msgspec.json.Decoder(dict[str, Any]).decode
_decode_claims = msgspec.json.Decoder(_Claims).decode


class Keys:
    """The published signing keys: fetched at need, kept when a fetch fails, never asked for in a flood."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, log: Log) -> None:
        self._url, self._session, self._log = settings.jwks_url, session, log
        self._refresh, self._cooldown = settings.jwks_refresh_seconds, settings.jwks_cooldown_seconds
        self._timeout = aiohttp.ClientTimeout(total=settings.timeout_probe_seconds)
        self._keys: dict[str, ECKey] = {}
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()
        self.generation = 0

    async def get(self, kid: str) -> ECKey:
        """The key ``kid``.

        Raises:
            Refused: 401 when nobody publishes it, 503 when no keys were ever fetched.
        """
        now = time.monotonic()
        key = self._keys.get(kid)
        stale = now - self._fetched > self._refresh
        if (key is None or stale) and now - self._tried > self._cooldown:
            async with self._lock:
                if time.monotonic() - self._tried > self._cooldown:
                    await self._fetch()
            key = self._keys.get(kid)
        if key is not None:
            return key
        raise Refused(INVALID if self._keys else NO_KEYS)

    async def _fetch(self) -> None:
        self._tried = time.monotonic()
        try:
            async with self._session.get(
                self._url or "", timeout=self._timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise ValueError(f"status {response.status}")
                found = _parse_keys(await response.content.read(262_144))
        except (aiohttp.ClientError, TimeoutError, ValueError, JoseError) as error:
            # The last good keys stay: an outage there must not lock everybody out here.
            self._log("warning", "jwks_unavailable", error=describe(error)["type"], kept=len(self._keys))
            return
        if set(found) != set(self._keys):
            self.generation += 1
        self._keys, self._fetched = found, self._tried


def _parse_keys(raw: bytes) -> dict[str, ECKey]:
    """The ES256 keys of a key set; other kinds are left out.

    Raises:
        ValueError, JoseError: when ``raw`` is not a key set, or has no such key.
    """
    try:
        listed = msgspec.json.decode(raw, type=dict[str, Any]).get("keys")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError("not a key set") from error
    found = {
        str(key["kid"]): ECKey.import_key({name: str(key[name]) for name in ("kty", "crv", "x", "y")})
        for key in (listed if isinstance(listed, list) else [])[:MOST_KEYS]
        if isinstance(key, dict) and key.get("kty") == "EC" and key.get("crv") == "P-256" and key.get("kid")
        if {"x", "y"} <= key.keys()
    }
    if not found:
        raise ValueError("no ES256 key")
    return found


class Tokens:
    """Verifies access tokens; ``user`` is what the hot path calls."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, log: Log) -> None:
        secret = settings.jwt_secret
        self._secret = OctKey.import_key(secret.get_secret_value()) if secret else None
        self._keys = Keys(settings, session, log) if settings.jwks_url else None
        self._issuer, self._audience = settings.jwt_issuer, settings.jwt_audience
        self._cache: dict[bytes, tuple[str, float, int]] = {}

    def cached(self, header: bytes) -> str | None:
        """The user whose token was verified before and still holds; else None."""
        held = self._cache.get(hashlib.sha256(header).digest())
        if held is None:
            return None
        generation = self._keys.generation if self._keys else 0
        return held[0] if held[1] > time.time() and held[2] == generation else None

    async def user(self, header: bytes | None) -> str:
        """The UUID of the user whose access token the Authorization ``header`` carries.

        Raises:
            Refused: 401, or 503 when the signing keys cannot be had.
        """
        if header is None:
            raise Refused(MISSING)
        found = self.cached(header)
        return found if found is not None else await self._verify(header)

    async def _verify(self, header: bytes) -> str:
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Refused(MISSING)
        if len(token) > MOST_BYTES or token.count(b".") != 2:
            raise Refused(INVALID)
        key, algorithm = await self._key(_header(token))
        try:
            signed = jws.deserialize_compact(token, key, algorithms=[algorithm])
            claims = _decode_claims(signed.payload)
        except (JoseError, msgspec.MsgspecError, ValueError, TypeError):
            raise Refused(INVALID) from None
        user = self._judge(claims)
        self._remember(header, user, claims.exp)
        return user

    async def _key(self, header: _Header) -> tuple[OctKey | ECKey, str]:
        if header.alg == "HS256" and self._secret is not None:
            return self._secret, "HS256"
        if header.alg == "ES256" and self._keys is not None and header.kid:
            return await self._keys.get(header.kid), "ES256"
        raise Refused(INVALID)

    def _judge(self, claims: _Claims) -> str:
        now = time.time()
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if claims.iss != self._issuer or self._audience not in audiences or claims.role != "authenticated":
            raise Refused(INVALID)
        if claims.exp <= now:
            raise Refused(EXPIRED)
        if max(claims.nbf or 0.0, claims.iat or 0.0) > now + LEEWAY:
            raise Refused(INVALID)
        try:
            return str(uuid.UUID(claims.sub))
        except ValueError:
            raise Refused(INVALID) from None

    def _remember(self, header: bytes, user: str, expires: float) -> None:
        if len(self._cache) >= MOST_CACHED:
            for oldest in list(self._cache)[: MOST_CACHED // 10]:
                del self._cache[oldest]
        until = min(expires, time.time() + REVERIFY)
        generation = self._keys.generation if self._keys else 0
        self._cache[hashlib.sha256(header).digest()] = (user, until, generation)


def _header(token: bytes) -> _Header:
    """The header of ``token``, which nothing has verified yet.

    Raises:
        Refused: 401 unless it has exactly what an access token's header needs.
    """
    try:
        fields = _decode_header(urlsafe_b64decode(token.partition(b".")[0]))
        header = msgspec.convert(fields, _Header)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Refused(INVALID) from None
    if not fields.keys() <= _ALLOWED_HEADER or (header.kid is not None and not 0 < len(header.kid) <= 128):
        raise Refused(INVALID)
    return header
