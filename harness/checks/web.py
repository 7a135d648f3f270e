"""The web app as people and their browsers meet it: reachable, a production build, safely served."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

from harness.checks.base import check
from harness.checks.web_bytes import HTML, page
from harness.evidence import Evidence, Finding, judge
from harness.providers import web_build
from harness.stack import Stack

__all__ = ["browser_may_call_data_api", "hardened", "serves", "signed_out"]

_DEVELOPMENT = re.compile(r"hmr-client|react-refresh|_dev_|next-devtools|turbopack-hmr")
_MODES = {"production": "production", "dev": "development"}
_DEPLOY = "deploy the web component again: harness up"


@check("web.serves", component="web")
def serves(stack: Stack) -> Evidence:
    """The web app answers at its declared address with this release, as a production build."""
    settings, home, health = stack.environment.web, page(stack, "/"), page(stack, "/api/health")
    findings = []
    if home.status != 200 or "text/html" not in home.headers:
        findings.append(Finding("200, a page", f"{home.status}", f"GET {settings.url}/", _DEPLOY))
    seen = stack.http(settings.url).get("/api/health").json() if health.status == 200 else {}
    wanted = {
        "environment": stack.environment.environment,
        "release": web_build.release(stack),
        "mode": _MODES[getattr(settings, "mode", "production")],
    }
    findings += [
        Finding(f"{key} {value}", f"{key} {seen.get(key)}", f"{settings.url}/api/health", _DEPLOY)
        for key, value in wanted.items()
        if seen.get(key) != value
    ]
    if wanted["mode"] == "production" and (found := _DEVELOPMENT.search(home.text)):
        what = f"the page loads {found.group()!r}, which only `next dev` serves"
        findings.append(Finding("a production build", what, f"GET {settings.url}/", _DEPLOY))
    summary = f"{settings.url} serves {wanted['release']} as a {wanted['mode']} build"
    return judge(summary, findings, **wanted)


def _policy(headers: str) -> dict[str, list[str]]:
    """The directives of the Content-Security-Policy among ``headers``."""
    found = re.search(r"(?im)^content-security-policy: (.*)$", headers)
    parts = [part.split() for part in found.group(1).split(";")] if found else []
    return {part[0]: part[1:] for part in parts if part}


@check("web.hardened", component="web")
def hardened(stack: Stack) -> Evidence:
    """Browsers are told to run no foreign script, to show the app in no frame, to send no referrer."""
    findings = [finding for path in HTML for finding in _soft(stack, path)]
    summary = f"a fresh nonce on each of {len(HTML)} pages; no frames, no sniffing, no referrer"
    return judge(summary, findings)


def _soft(stack: Stack, path: str) -> Iterator[Finding]:
    """What the page ``path`` does not tell browsers."""
    where, first, second = f"GET {stack.environment.web.url}{path}", page(stack, path), page(stack, path)
    for name, value in (
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
    ):
        if not re.search(rf"(?im)^{name}: {value}$", first.headers):
            told, remedy = f"{where} ({name})", "see web/next.config.ts"
            yield Finding(f"{name}: {value}", "another value or none", told, remedy)
    if re.search(r"(?im)^x-powered-by:", first.headers):
        yield Finding("no x-powered-by", "one is sent", where, "see web/next.config.ts")
    policies = (_policy(first.headers), _policy(second.headers))
    for wrong in _policy_problems(stack, *policies, first.text):
        yield Finding("a strict policy", wrong, f"{where} (CSP)", "see web/proxy.ts")


_OWN_SCRIPTS = ("'self'", "'none'", "'strict-dynamic'", "'report-sample'")
_MORE_SCRIPTS = ("script-src-elem", "script-src-attr")
_DETOURS = {
    "base-uri": "whoever injects <base> says where the page's scripts come from",
    "object-src": "a plug-in runs foreign code",
}


def _policy_problems(
    stack: Stack, policy: dict[str, list[str]], other: dict[str, list[str]], html: str
) -> list[str]:
    scripts = policy.get("script-src", policy.get("default-src", ["*"]))
    nonces = [word for word in scripts if word.startswith("'nonce-")]
    problems = [
        f"{name} allows {word}"
        # browsers ask script-src-elem and -attr first, where there are any
        for name, words in (("script-src", scripts), *((n, policy.get(n, [])) for n in _MORE_SCRIPTS))
        for word in words
        if word not in _OWN_SCRIPTS and not word.startswith("'nonce-")
    ]
    problems += [
        f"{name} is {' '.join(policy.get(name, ())) or 'not there'}: {why}"
        for name, why in _DETOURS.items()
        if policy.get(name) not in (["'none'"], ["'self'"])
    ]
    if not nonces or nonces[0] in other.get("script-src", []):
        problems.append("no nonce, or the same one for every page")
    elif f'nonce="{nonces[0][7:-1]}"' not in html:
        problems.append("the page's scripts do not carry the nonce: browsers run none of them")
    if policy.get("frame-ancestors") != ["'none'"]:
        problems.append("frame-ancestors is not 'none'")
    for purpose, target in (("data", stack.environment.supabase.api_url), ("errors", web_build.dsn(stack))):
        parts = urlsplit(target)
        origin = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        if origin not in policy.get("connect-src", []):
            problems.append(f"connect-src keeps the browser from {origin} ({purpose})")
    return problems


_BODY = {"mode": "instant", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}


@check("web.signed-out", component="web", needs=("gateway",))
def signed_out(stack: Stack) -> Evidence:
    """Without a valid sign-in the API refuses, in words that the app can show."""
    url = stack.environment.web.url
    findings = []
    for name, headers in (
        ("without a token", {}),
        ("with a token that nobody issued", {"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.bm90LWE"}),
    ):
        identifier = str(uuid.uuid4())
        answer = stack.http(url).post(
            "/api/chat", json=_BODY, headers={**headers, "x-request-id": identifier}, timeout=20
        )
        is_json = "application/json" in answer.headers.get("content-type", "")
        told = answer.json().get("error", {}) if is_json else {}
        if answer.status_code != 401 or not told.get("message"):
            seen = f"{answer.status_code} {told.get('code', 'without an error that can be read')}"
            where = f"POST {url}/api/chat {name}"
            findings.append(Finding("401 with a message", seen, where, "see the gateway's log"))
    return judge("401 with a message, without a token and with a forged one", findings)


@check("web.data-api", component="web", needs=("supabase",))
def browser_may_call_data_api(stack: Stack) -> Evidence:
    """A browser on the web app's page may call the Data API, and reads no row of anybody else's."""
    api, origin = stack.environment.supabase.api_url, stack.environment.web.url
    path = "/rest/v1/conversations"
    headers = "authorization,apikey,content-type,x-client-info,prefer,accept-profile,content-profile"
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": headers,
    }
    answer = stack.http(api).options(path, headers=asked)
    where, findings = f"OPTIONS {api}{path} from {origin}", []
    if answer.headers.get("access-control-allow-origin") not in ("*", origin):
        seen = answer.headers.get("access-control-allow-origin", "no access-control-allow-origin")
        findings.append(
            Finding(f"allowed for {origin}", seen, where, "let the Data API answer this origin")
        )
    allowed = {
        name.strip().lower() for name in answer.headers.get("access-control-allow-headers", "").split(",")
    }
    lacking = [name for name in ("authorization", "apikey", "content-type") if name not in allowed | {"*"}]
    if lacking and "*" not in allowed:
        findings.append(
            Finding("its headers allowed", f"not allowed: {', '.join(lacking)}", where, "allow them")
        )
    token, key = stack.identities.token("web-visitor"), stack.identities.anon_key()
    read = stack.http(api).get(
        path,
        headers={"apikey": key.reveal(), "authorization": f"Bearer {token.reveal()}", "origin": origin},
    )
    if read.status_code != 200 or read.json() != []:
        seen = f"{read.status_code}, {len(read.content)} bytes"
        findings.append(
            Finding("200 and no row", seen, f"GET {api}{path} as a new user", "see the policies")
        )
    return judge(f"{origin} may call {api}; a new user reads nothing", findings)
