"""The live web app in a real browser: the sign-in link works, scripts run, errors arrive."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.identity import mint
from harness.providers.error_tracking import error_tracker
from harness.waiting import wait_until
from tests.web_stack import WebStand, damaged

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the PATH (apt-get install chromium)"
)

FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def command(url: str, profile: Path, *more: str) -> list[str]:
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    return [str(CHROMIUM), *FLAGS, *sandbox, f"--user-data-dir={profile}", *more, url]


def visited(url: str, profile: Path) -> str:
    """The page at ``url`` after its scripts ran."""
    argv = command(url, profile, "--virtual-time-budget=8000", "--dump-dom")
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


@contextlib.contextmanager
def open_page(url: str, profile: Path) -> Iterator[None]:
    """A browser stays on ``url`` inside the block."""
    argv = command(url, profile, "--remote-debugging-port=0")
    quiet = subprocess.DEVNULL
    browser = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait(10)


def link(stand: WebStand, **claims: object) -> str:
    environment = stand.stack.environment
    known = {
        "iss": f"{environment.supabase.api_url}/auth/v1",
        "aud": "authenticated",
        "role": "authenticated",
        "sub": stand.stack.identities.user_id("browser"),
        "email": "browser@chat-stack.test",
        "exp": int(time.time()) + 600,
    }
    token = mint(stand.stack.secret(environment.supabase.jwt_secret), {**known, **claims})
    return f"{environment.web.url}/auth/callback#access_token={token.reveal()}&token_type=bearer"


def test_a_sign_in_link_opens_the_chat(web_stand: WebStand, tmp_path: Path) -> None:
    page = visited(link(web_stand), tmp_path)
    assert "What is on your mind?" in page
    assert "browser@chat-stack.test" in page
    assert "access_token" not in page


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"exp": 1_700_000_000}, "has expired"),
        ({"iss": "https://other.example"}, "belongs to another environment"),
    ],
)
def test_a_link_that_must_not_work_says_why(
    web_stand: WebStand, tmp_path: Path, claims: dict[str, object], told: str
) -> None:
    page = visited(link(web_stand, **claims), tmp_path)
    assert told in page
    assert "What is on your mind?" not in page


def test_without_a_sign_in_the_app_invites(web_stand: WebStand, tmp_path: Path) -> None:
    assert "You are not signed in" in visited(web_stand.stack.environment.web.url, tmp_path)


def test_an_error_in_the_browser_is_reported_without_the_person(
    web_stand: WebStand, tmp_path: Path
) -> None:
    tracker = error_tracker(web_stand.stack)
    mark = tracker.mark()
    boom = 'addEventListener("load",()=>setTimeout(()=>{throw Error("error of zoe@example.org")},500));'

    def change(build: Path) -> None:
        script = next(
            path for path in (build / ".next/static").rglob("*.js") if "data-page" in path.read_text()
        )
        script.write_text(boom + script.read_text())

    with damaged(web_stand, change) as stack:
        port = stack.http(stack.environment.web.url).base_url.port
        with open_page(f"http://localhost:{port}/auth/callback", tmp_path):
            (event,) = wait_until("the browser's error", lambda: tracker.since(mark), seconds=20)
    assert event["exception"]["values"][0]["value"] == "error of [email]"
    assert event["tags"]["runtime"] == "browser"
    assert event["environment"] == "local"
