"""WEB-1 and WEB-2: what is compiled into the live build, what must not be, and the sign-in addresses."""

from __future__ import annotations

import base64
import json
import re
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from harness.checks.base import check
from harness.checks.leaks import Needles, declared_secrets
from harness.checks.web_bytes import PAGES, Served, compiled_in, crawl, page, public
from harness.evidence import Evidence, Finding, judge
from harness.providers import web_build
from harness.providers.auth_settings import AuthSettings, auth_settings
from harness.stack import Stack

__all__ = ["callback_urls", "no_secret_served", "variables"]

_REBUILD = "deploy the web component again: the variables are compiled in at build time"
_PUBLIC = ("supabase.anon_key", "web.error_dsn")
_JWT = re.compile(rb"\beyJ[\w-]{5,}\.(eyJ[\w-]{5,})\.[\w-]*")
_SIGNS = {
    "a database address with a password": re.compile(rb"postgres(?:ql)?://[^\s\"'/:@]+:[^\s\"'/@]+@"),
    "a Supabase secret key": re.compile(rb"\bsb_secret_\w{8,}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
_NEVER_SERVED = ("/.env", "/.env.local", "/.env.production", "/package.json", "/server.js", "/build.json")


@check("web.variables", component="web")
def variables(stack: Stack) -> Evidence:
    """Every declared variable is in the scripts that are served right now, with the declared value."""
    url, served = stack.environment.web.url, crawl(stack)
    found, declared = compiled_in(served), web_build.declared(stack)
    findings = []
    for name, value in declared.items():
        places = found.get(name, {})
        if not places:
            where = f"{url} ({name})"
            findings.append(Finding(f"{name}={value}", "in no script that is served", where, _REBUILD))
        findings += [
            Finding(f"{name}={value}", f"{name}={seen or '(undefined)'}", f"{url}{path} ({name})", _REBUILD)
            for path, seen in places.items()
            if seen != value
        ]
    findings += [
        Finding(
            "only declared variables", f"{name} is compiled in", f"{url}{path}", "remove it, or declare it"
        )
        for name in sorted(set(found) - set(declared))
        for path in found[name]
    ]
    count = sum(1 for answer in served if answer.path.endswith(".js") and answer.status == 200)
    summary = f"all {len(declared)} variables are right in the {count} scripts that are served"
    return judge(summary, findings, variables=sorted(declared), scripts=count)


@check("web.no-secret-served", component="web")
def no_secret_served(stack: Stack) -> Evidence:
    """No secret of the stack, in any encoding, is in any byte that the web app serves."""
    url, served = (
        stack.environment.web.url,
        crawl(stack, tuple(dict.fromkeys((*PAGES, *public(stack)))), maps=True),
    )
    secrets = declared_secrets(stack, without=_PUBLIC)
    needles = Needles(secrets)
    findings = []
    for answer in served:
        hits = {str(hit) for hit in needles.in_bytes(answer.headers.encode() + b"\n" + answer.body)}
        for what in sorted(hits | set(_signs(answer))):
            findings.append(
                Finding(
                    "no secret of the server",
                    what,
                    f"{url}{answer.path}",
                    "take it out, rebuild, and replace it",
                )
            )
    for path in _NEVER_SERVED:
        if (status := page(stack, path).status) not in (404, 403, 410):
            findings.append(Finding("404", f"{status}", f"{url}{path}", "serve nothing but web/public"))
    size = sum(len(answer.body) for answer in served)
    summary = (
        f"none of {len(secrets)} secrets in {len(served)} answers ({size // 1024} KiB), in any encoding"
    )
    return judge(summary, findings, answers=len(served), bytes=size, secrets=sorted(secrets))


def _signs(answer: Served) -> list[str]:
    """What looks like a secret although it is none of this stack's."""
    found = [name for name, sign in _SIGNS.items() if sign.search(answer.body)]
    for match in _JWT.finditer(answer.body):
        try:
            claims = json.loads(base64.urlsafe_b64decode(match.group(1) + b"=="))
        except ValueError:
            continue  # only looks like a token
        if isinstance(claims, dict) and claims.get("role") not in (None, "anon"):
            found.append(f"a token with the role {claims['role']}")
    return found


@check("web.callback-urls", component="web")
def callback_urls(stack: Stack) -> Evidence:
    """Supabase Auth sends people back to this web app and nowhere else; the page there takes them in."""
    settings, url = auth_settings(stack), stack.environment.web.url
    findings = [*_settings_findings(settings, url, web_build.callback_url(stack)), *_page_findings(stack)]
    summary = f"{settings.where} names {url} and its callback page, which takes sign-ins"
    return judge(summary, findings, site_url=settings.site_url, redirect_urls=settings.redirect_urls)


def _settings_findings(settings: AuthSettings, url: str, callback: str) -> list[Finding]:
    fix = f"correct it in {settings.where}"
    findings = []
    if settings.site_url.rstrip("/") != url:
        findings.append(Finding(url, settings.site_url, f"{settings.where} (site_url)", fix))
    place = f"{settings.where} (additional_redirect_urls)"
    if not any(fnmatchcase(callback, pattern) for pattern in settings.redirect_urls):
        shown = ", ".join(settings.redirect_urls) or "nothing"
        findings.append(Finding(callback, shown, place, f"add {callback}"))
    for pattern in settings.redirect_urls:
        if _origin(pattern) != _origin(url):
            findings.append(
                Finding(f"only addresses of {url}", pattern, place, "remove it: it may take tokens away")
            )
    return findings


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    port = parts.netloc.rpartition(":")[2]
    loopback = host in ("localhost", "127.0.0.1")
    return parts.scheme, "loopback" if loopback else host, int(port) if port.isdigit() else None


def _page_findings(stack: Stack) -> list[Finding]:
    callback = web_build.callback_url(stack)
    answer = page(stack, "/auth/callback")
    where, findings = f"GET {callback}", []
    if answer.status != 200 or 'data-page="auth-callback"' not in answer.text:
        seen = f"{answer.status}, another page" if answer.status == 200 else str(answer.status)
        return [Finding("200, the callback page", seen, where, "deploy web/app/auth/callback")]
    scripts = re.findall(r'<script[^>]+src="([^"]+)"', answer.text)
    foreign = [source for source in scripts if not source.startswith("/_next/")]
    findings += [
        Finding("no foreign script where tokens arrive", source, where, "remove it") for source in foreign
    ]
    own = [page(stack, source) for source in scripts if source not in foreign]
    if not any(b"access_token" in script.body for script in own):
        what = "none of its scripts reads access_token"
        findings.append(
            Finding("a page that takes the session", what, where, "deploy the web component again")
        )
    if "referrer-policy: no-referrer" not in answer.headers.lower():
        findings.append(
            Finding("referrer-policy: no-referrer", "another or none", where, "see next.config.ts")
        )
    return findings
