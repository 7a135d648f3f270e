"""A Storage API whose files are in memory, and whose rows are the database's own: its policies decide.

Routes and answers are those of the recorded pairs of the vendor's CLI (upload, list, download, move, list
of buckets; tests/negative/test_storage_buckets.py holds it to them). ``broken`` is what it forgets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import Any
from urllib.parse import unquote

import httpx
import psycopg

from harness.stack import Stack

_REFUSED = {
    "statusCode": "403",
    "error": "Unauthorized",
    "message": "new row violates row-level security policy",
}
_BAD = {"statusCode": "403", "error": "Unauthorized", "message": "jwt expired"}


class StorageApi:
    """Answers for ``stack`` in place of its Data API's front; ``broken`` names the rule that it forgets."""

    def __init__(self, stack: Stack, broken: str = "") -> None:
        self.files: dict[str, bytes] = {}
        self.seen: list[str] = []
        self.broken, self.stack = broken, stack
        self.answering = self.answer
        url = stack.environment.supabase.api_url
        transport = httpx.MockTransport(self._whichever)
        stack._clients[url] = httpx.Client(base_url=url, transport=transport)

    def _whichever(self, request: httpx.Request) -> httpx.Response:
        return self.answering(request)

    def answer(self, request: httpx.Request) -> httpx.Response:
        route = unquote(request.url.path).removeprefix("/storage/v1/")
        self.seen.append(f"{request.method} {route}")
        if self.broken in ("absent", "down"):
            return httpx.Response({"absent": 404, "down": 503}[self.broken], json={})
        claims = self._claims(request.headers["Authorization"].removeprefix("Bearer "))
        if claims is None:
            return httpx.Response(400, json=_BAD)
        if route == "bucket":
            return httpx.Response(
                200, json=self._sql(claims, "select * from storage.buckets", service=True)
            )
        return self._object(request, claims, route.removeprefix("object/"))

    def _claims(self, token: str) -> dict[str, Any] | None:
        secret = self.stack.secret(self.stack.environment.supabase.jwt_secret)
        signed, _, signature = token.rpartition(".")
        made = hmac.digest(secret.reveal().encode(), signed.encode(), hashlib.sha256)
        genuine = base64.urlsafe_b64encode(made).decode().rstrip("=") == signature
        body = signed.partition(".")[2]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        fresh = claims["exp"] > time.time()
        good = (genuine or self.broken == "forged") and (fresh or self.broken == "expired")
        return dict(claims) if good else None

    def _sql(
        self, claims: dict[str, Any], query: str, *values: Any, service: bool = False
    ) -> list[dict[str, Any]]:
        """Rows of ``query``, asked as whoever the claims say."""
        with psycopg.connect(self.stack.database_dsn, row_factory=psycopg.rows.dict_row) as connection:
            connection.execute(b"select set_config('storage.allow_delete_query', 'true', true)")
            connection.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
            role = "service_role" if service else claims["role"]
            connection.execute(f"set local role {role}".encode())
            done = connection.execute(query.encode(), values)
            rows = done.fetchall() if done.description else [{}] * done.rowcount
            return json.loads(json.dumps(rows, default=str))

    def _object(self, request: httpx.Request, claims: dict[str, Any], route: str) -> httpx.Response:
        kind, _, rest = route.partition("/")
        if kind == "list":
            return self._list(claims, rest, json.loads(request.content))
        if kind == "move":
            return self._move(claims, json.loads(request.content))
        if request.method == "GET":
            return self._get(claims, kind, rest)
        bucket, _, name = route.partition("/")
        try:
            return self._write(request, claims, bucket, name)
        except psycopg.Error as error:
            return httpx.Response(400, json={**_REFUSED, "message": str(error)})

    def _list(self, claims: dict[str, Any], bucket: str, asked: dict[str, Any]) -> httpx.Response:
        query = "select name, id, updated_at, created_at, last_accessed_at, metadata from storage.objects"
        where = " where bucket_id = %s and name like %s"
        rows = self._sql(
            claims, query + where, bucket, asked["prefix"] + "/%", service=self.broken == "list"
        )
        return httpx.Response(200, json=[{**row, "name": row["name"].rpartition("/")[2]} for row in rows])

    def _move(self, claims: dict[str, Any], asked: dict[str, str]) -> httpx.Response:
        bucket, old, new = asked["bucketId"], asked["sourceKey"], asked["destinationKey"]
        change = "update storage.objects set name = %s where bucket_id = %s and name = %s returning id"
        try:
            moved = self._sql(claims, change, new, bucket, old, service=self.broken == "move")
        except psycopg.Error as error:
            return httpx.Response(400, json={**_REFUSED, "message": str(error)})
        if not moved:
            return httpx.Response(400, json=_REFUSED)
        self.files[f"{bucket}/{new}"] = self.files.pop(f"{bucket}/{old}")
        return httpx.Response(200, json={"message": "Successfully moved"})

    def _get(self, claims: dict[str, Any], kind: str, path: str) -> httpx.Response:
        bucket, _, name = path.partition("/")
        query = "select b.public from storage.objects o join storage.buckets b on b.id = o.bucket_id"
        query += " where o.bucket_id = %s and o.name = %s"
        if kind == "public":
            known = self._sql(claims, query, bucket, name, service=True)
            known = [row for row in known if row["public"] or self.broken == "public"]
        else:
            query = "select id from storage.objects where bucket_id = %s and name = %s"
            known = self._sql(claims, query, bucket, name, service=self.broken == "GET")
        return (
            httpx.Response(200, content=self.files[path]) if known else httpx.Response(400, json=_REFUSED)
        )

    def _write(
        self, request: httpx.Request, claims: dict[str, Any], bucket: str, name: str
    ) -> httpx.Response:
        key, upsert = f"{bucket}/{name}", request.headers.get("x-upsert") == "true"
        free = self.broken == ("upsert" if upsert else request.method)
        if request.method == "DELETE":
            gone = "delete from storage.objects where bucket_id = %s and name = %s returning id"
            if not self._sql(claims, gone, bucket, name, service=free):
                return httpx.Response(400, json=_REFUSED)
            self.files.pop(key, None)
            return httpx.Response(200, json={"message": "Successfully deleted"})
        (limits,) = self._sql(claims, "select * from storage.buckets where id = %s", bucket, service=True)
        if len(request.content) > (limits["file_size_limit"] or 1e12) and self.broken != "size":
            return httpx.Response(400, json={"statusCode": "413", "error": "Payload too large"})
        kind, types = request.headers["Content-Type"], limits["allowed_mime_types"]
        if types and kind not in types and self.broken != "mime":
            return httpx.Response(400, json={"statusCode": "415", "error": "invalid_mime_type"})
        if request.method == "PUT":
            change = (
                "update storage.objects set version = %s where bucket_id = %s and name = %s returning id"
            )
            done = self._sql(claims, change, str(uuid.uuid4()), bucket, name, service=free)
        else:
            made = "insert into storage.objects (bucket_id, name, owner_id) values (%s, %s, %s)"
            again = " on conflict (bucket_id, name) do update set version = 'x'" if upsert else ""
            done = self._sql(claims, made + again, bucket, name, claims.get("sub"), service=free)
        if not done:
            return httpx.Response(400, json=_REFUSED)
        self.files[key] = request.content
        return httpx.Response(200, json={"Key": key, "Id": str(uuid.uuid4())})
