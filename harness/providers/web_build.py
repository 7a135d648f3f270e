"""What a build of the web app is made of: its sources, its release name, what is compiled into it.

Shared by every provider of the web component, and by the checks that read the same facts back from the
served bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from harness.stack import Stack

__all__ = [
    "build_digest",
    "callback_url",
    "declared",
    "dsn",
    "release",
    "server_environment",
    "source_digest",
]

_LEFT_OUT = {"node_modules", ".next", "tests", "next-env.d.ts", "tsconfig.tsbuildinfo", "README.md"}
DEVELOPMENT_RELEASE = "web@dev"


def sources(web: Path) -> list[Path]:
    """Every file that a build is made from, in a stable order."""
    kept = [path for path in web.iterdir() if path.name not in _LEFT_OUT]
    files = [path for path in kept if path.is_file()]
    for folder in (path for path in kept if path.is_dir()):
        files += [path for path in folder.rglob("*") if path.is_file()]
    return sorted(files)


def source_digest(web: Path) -> str:
    """sha256 over the names and the content of the sources."""
    digest = hashlib.sha256()
    for path in sources(web):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(web).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def release(stack: Stack) -> str:
    """``web@`` and 12 hex digits of the sources; ``web@dev`` where sources change while they are served."""
    if getattr(stack.environment.web, "mode", "production") == "dev":
        return DEVELOPMENT_RELEASE
    return f"web@{source_digest(stack.root / 'web')[:12]}"


def dsn(stack: Stack) -> str:
    """Where the web app sends its errors: the declared Sentry project, or the loopback sink."""
    web = stack.environment.web
    if web.error_dsn:
        return stack.secret(web.error_dsn).reveal()
    return f"http://public@127.0.0.1:{getattr(web, 'error_sink_port', 3001)}/1"


def callback_url(stack: Stack) -> str:
    """Where Supabase Auth sends people back to."""
    return f"{stack.environment.web.url}/auth/callback"


def declared(stack: Stack) -> dict[str, str]:
    """The variables that are compiled into the build, as the environment declares them. All are public."""
    web = stack.environment.web
    return {
        "NEXT_PUBLIC_AUTH": web.sign_in,
        "NEXT_PUBLIC_ENVIRONMENT": stack.environment.environment,
        "NEXT_PUBLIC_RELEASE": release(stack),
        "NEXT_PUBLIC_SENTRY_DSN": dsn(stack),
        "NEXT_PUBLIC_SITE_URL": web.url,
        "NEXT_PUBLIC_SUPABASE_ANON_KEY": stack.identities.anon_key().reveal(),
        "NEXT_PUBLIC_SUPABASE_URL": stack.environment.supabase.api_url,
    }


def server_environment(stack: Stack) -> dict[str, str]:
    """What only the server may know, read when it starts; nothing of it is compiled in."""
    return {
        "GATEWAY_URL": stack.environment.gateway.url,
        "WEB_PROBE_TOKEN": stack.secret(stack.environment.web.probe_token).reveal(),
    }


def build_digest(web: Path, inlined: dict[str, str], node_version: str) -> str:
    """What identifies a build: the same digest, the same bytes."""
    parts = json.dumps([source_digest(web), inlined, node_version.partition(".")[0]], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()
