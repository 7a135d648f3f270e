"""The same questions about files over HTTP, where a Storage API answers (the embedded stack has none)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx

from harness.evidence import Finding
from harness.stack import Stack

__all__ = ["over_http"]

_BUCKET = "attachments"
_ABSENT = 404
_TOO_LARGE = 10 * 2**20 + 1
_TEXT = {"Content-Type": "text/plain"}


def over_http(stack: Stack) -> tuple[list[Finding], str]:
    """What the Storage API lets people do that it must not, and a word on what was asked."""
    service = stack.identities.service_role_key().reveal()
    listed = _send(stack, "GET", "/storage/v1/bucket", service)
    if listed.status_code == _ABSENT:
        return [], "no Storage API in this stack: proven in SQL"
    mark = uuid.uuid4().hex[:8]
    people = [f"storage-http-{mark}-{who}" for who in "ab"]
    a, b = (stack.identities.token(name).reveal() for name in people)
    path = f"{_BUCKET}/{stack.identities.user_id(people[0])}/{mark}"
    try:
        return list(_asked(stack, path, a, b)), "and over HTTP"
    finally:
        for name in ("own.txt", "forged.txt", "large.txt", "program.txt"):
            _send(stack, "DELETE", f"/storage/v1/object/{path}-{name}", service)


def _asked(stack: Stack, path: str, a: str, b: str) -> Iterator[Finding]:
    own = f"{path}-own.txt"
    made = _object(stack, "POST", own, a, content=b"own", headers=_TEXT)
    if not made.is_success:
        yield _finding("owners upload into their folder", f"POST {own}", made)
        return
    read = _object(stack, "GET", f"authenticated/{own}", a)
    if read.content != b"own":
        yield _finding("owners read what they uploaded", f"GET {own}", read)
    yield from _refused(stack, path, a, b)
    prefix = own.rpartition("/")[0].partition("/")[2]
    seen = _object(stack, "POST", f"list/{_BUCKET}", b, json={"prefix": prefix})
    if seen.is_success and seen.json():
        yield _finding("an empty list: another's folder", f"list as B, {prefix}", seen)


def _refused(stack: Stack, path: str, a: str, b: str) -> Iterator[Finding]:
    anon = stack.identities.anon_key().reveal()
    own, forged = f"{path}-own.txt", f"{path}-forged.txt"
    large, program = f"{path}-large.txt", f"{path}-program.txt"
    code = {"Content-Type": "application/x-msdownload"}
    small: dict[str, Any] = {"content": b"x", "headers": _TEXT}
    huge: dict[str, Any] = {"content": b"\0" * _TOO_LARGE, "headers": _TEXT}
    attempts: tuple[tuple[str, str, tuple[str, str, str], dict[str, Any]], ...] = (
        ("another's file", "GET as B", ("GET", f"authenticated/{own}", b), {}),
        ("a private bucket", "GET as anybody", ("GET", f"public/{own}", anon), {}),
        ("another's file", "PUT as B", ("PUT", own, b), small),
        ("another's folder", "POST as B", ("POST", forged, b), small),
        ("another's file", "DELETE as B", ("DELETE", own, b), {}),
        ("over the size limit", "POST of 10 MiB + 1", ("POST", large, a), huge),
        ("not an allowed type", "POST of a program", ("POST", program, a), {**small, "headers": code}),
    )
    for why, where, request, body in attempts:
        answer = _object(stack, *request, **body)
        if answer.is_success:
            yield _finding(f"refused: {why}", f"{where}, {own}", answer)


def _object(stack: Stack, method: str, route: str, token: str, **body: Any) -> httpx.Response:
    return _send(stack, method, f"/storage/v1/object/{route}", token, **body)


def _send(stack: Stack, method: str, path: str, token: str, **body: Any) -> httpx.Response:
    headers = {
        "apikey": stack.identities.anon_key().reveal(),
        "Authorization": f"Bearer {token}",
        **body.pop("headers", {}),
    }
    client = stack.http(stack.environment.supabase.api_url)
    return client.request(method, path, headers=headers, **body)


def _finding(expected: str, where: str, answer: httpx.Response) -> Finding:
    remedy = "compare the bucket and the policies on storage.objects with their migration"
    return Finding(expected, f"HTTP {answer.status_code}", f"Storage API, {where}", remedy)
