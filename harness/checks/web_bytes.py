"""Every byte that the live web app serves: its pages and each script, style and map that they lead to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx

from harness.errors import HarnessError
from harness.stack import Stack

__all__ = ["HTML", "PAGES", "Served", "compiled_in", "crawl", "page", "public"]

HTML = ("/", "/sign-in", "/auth/callback", "/no-such-page")
PAGES = (*HTML, "/robots.txt", "/icon.svg", "/api/health")
_MOST = 400
_ASSET = re.compile(r"(?:/_next/)?(static/[\w\-./~\[\]@%]+?\.(?:js|css|json|woff2?|svg|map))\b")
_BUILD = re.compile(r'\\?"b\\?":\\?"([\w-]{8,64})\\?"')
_QUOTED = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)"""
# next dev and the unminified build put the value behind a comment-like string
_VARIABLE = re.compile(
    r"""["']?\b(NEXT_PUBLIC_[A-Z0-9_]+)["']?\s*:\s*(?:\(\s*"TURBOPACK compile-time value"\s*,\s*)?"""
    rf"(?:{_QUOTED}|([^,}}]{{1,60}}))"
)


@dataclass(frozen=True)
class Served:
    """One answer: the path asked for, the status, all headers as text, and the body."""

    path: str
    status: int
    headers: str
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, whatever it is."""
        return self.body.decode("utf-8", "replace")


def page(stack: Stack, path: str) -> Served:
    """What the live web app answers to GET ``path``; redirects are not followed."""
    return _get(stack.http(stack.environment.web.url), path)


def _get(client: httpx.Client, path: str) -> Served:
    answer = client.get(path, headers={"accept": "*/*"})
    headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.multi_items())
    return Served(path, answer.status_code, headers, answer.content)


def public(stack: Stack) -> tuple[str, ...]:
    """The paths of what the sources give to everybody as it is: no page need mention it."""
    folder = stack.root / "web" / "public"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(quote(f"/{path.relative_to(folder).as_posix()}") for path in files)


def crawl(stack: Stack, pages: tuple[str, ...] = PAGES, *, maps: bool = False) -> list[Served]:
    """``pages`` and every script and style (with ``maps``: source map) that they or those mention.

    Raises:
        HarnessError: when there are more than can be read: of what was not read, nobody can speak.
    """
    client = stack.http(stack.environment.web.url)
    waiting, seen = list(pages), set(pages)
    served: list[Served] = []
    while waiting and len(served) < _MOST:
        answer = _get(client, waiting.pop())
        served.append(answer)
        if answer.status >= 400 and answer.path not in PAGES:
            continue  # a source map that is not served, a name that only looked like a file
        for path in sorted(_leads_to(answer, maps) - seen):
            seen.add(path)
            waiting.append(path)
    if waiting:
        raise HarnessError(f"the web app serves more than {_MOST} files: {len(waiting)} were not read")
    return served


def _leads_to(answer: Served, maps: bool) -> set[str]:
    found = {f"/_next/{name}" for name in _ASSET.findall(answer.text)}
    for build in _BUILD.findall(answer.text) if answer.path in PAGES else ():
        found |= {f"/_next/static/{build}/{name}" for name in ("_buildManifest.js", "_ssgManifest.js")}
    if maps and answer.path.endswith((".js", ".css")):
        found.add(f"{answer.path}.map")
    return {quote(urlsplit(path).path, safe="/%~@[]") for path in found}


def compiled_in(served: list[Served]) -> dict[str, dict[str, str]]:
    """Variable: {path of the script: value compiled into it}; the value is empty where there is none."""
    found: dict[str, dict[str, str]] = {}
    for answer in served:
        if not answer.path.endswith(".js") or answer.status != 200:
            continue
        for name, quoted, _other in _VARIABLE.findall(answer.text):
            found.setdefault(name, {})[answer.path] = _unquoted(quoted) if quoted else ""
    return found


def _unquoted(literal: str) -> str:
    inner = literal[1:-1]
    if literal[0] != '"':
        inner = re.sub(r"\\(['`$])", r"\1", inner).replace('"', '\\"')
    try:
        text: str = json.loads(f'"{inner}"')
    except ValueError:
        return inner
    return text
