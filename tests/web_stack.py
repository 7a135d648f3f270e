"""Fixtures: a real build of the web app, served by the real provider, before a stand-in for the gateway.

* ``web_session`` (session): built and deployed once, with the loopback error sink; about ten seconds.
* ``web_stand``: the same, with the stand-in gateway behaving well before each test.
* :func:`damaged`: inside its block a copy of the build, changed by the test, is what is served.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import yaml

from harness.environment import Environment
from harness.identity import LocalIdentities
from harness.providers.local.child import running_child
from harness.providers.local.next_build import Build
from harness.providers.local.node import find_node
from harness.providers.local.processes import LocalProcesses
from harness.providers.local.web import LocalWeb, web_program
from harness.secrets import SecretStore
from harness.stack import Stack
from harness.waiting import wait_until
from tests.pg_fixture import free_port
from tests.web_gateway import Behaviour, StandIn, stand_in

ROOT = Path(__file__).parents[1]


@dataclass
class WebStand:
    """The stack, its web app's provider and build, and the gateway that stands behind it."""

    stack: Stack
    processes: LocalProcesses
    provider: LocalWeb
    gateway: StandIn
    scratch: Path

    @property
    def build(self) -> Path:
        return next(path.parent for path in (self.stack.state / "web").glob("*/build.json"))


def stack_of(root: Path, state: Path, gateway: StandIn, port: int, sink: int) -> Stack:
    """A local stack whose web app is on ``port``, with what a test may look at."""
    text = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text())
    text["web"] |= {"url": f"http://localhost:{port}", "port": port, "error_sink_port": sink}
    api = free_port()  # nobody listens: what is saved is not what these tests are about
    text["supabase"] |= {"api_url": f"http://127.0.0.1:{api}", "api_port": api}
    text["gateway"] |= {"url": gateway.url, "port": int(gateway.url.rpartition(":")[2])}
    stack = Stack(root, state, Environment.model_validate(text), SecretStore(root, state))
    stack.identities_source = LocalIdentities(stack)
    stack.logs_source = gateway
    return stack


def _root(directory: Path, port: int) -> Path:
    """A repository in which everything is linked but the sign-in addresses, which name ``port``."""
    directory.mkdir()
    for name in ("web", "harness", "environments"):
        (directory / name).symlink_to(ROOT / name)
    (directory / "supabase").mkdir()
    config = (ROOT / "supabase" / "config.toml").read_text()
    (directory / "supabase" / "config.toml").write_text(config.replace(":3000", f":{port}"))
    return directory


@pytest.fixture(scope="session")
def web_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStand]:
    scratch = tmp_path_factory.mktemp("web")
    port, sink = free_port(), free_port()
    with stand_in() as gateway:
        stack = stack_of(_root(scratch / "root", port), scratch / "state", gateway, port, sink)
        processes = LocalProcesses(stack.state)
        provider = LocalWeb(stack, processes)
        stack.process_control, stack.providers["web"] = processes, provider
        try:
            provider.deploy(lambda _: None)
            yield WebStand(stack, processes, provider, gateway, scratch)
        finally:
            processes.shutdown()
            stack.close()


@pytest.fixture
def web_stand(web_session: WebStand) -> Iterator[WebStand]:
    web_session.gateway.behaviour = Behaviour()
    web_session.gateway.cancelled.clear()
    web_session.gateway.seen.clear()
    yield web_session
    web_session.gateway.behaviour = Behaviour()


@contextlib.contextmanager
def served(stand: WebStand, build: Path, **env: str) -> Iterator[Stack]:
    """``build`` is served inside the block; ``env`` overrides what the server is told.

    It listens beside the right one, but the stack that is handed out finds it at the declared address.
    """
    port, url = free_port(), stand.stack.environment.web.url
    program = web_program(stand.stack, find_node("web"), Build(build), port)
    program = replace(program, name="damaged", env={**program.env, **env}, stop_signal="KILL")
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10.0, trust_env=False)
    stack = replace(stand.stack, _clients={url: client})

    def up() -> bool:
        return client.get("/robots.txt").status_code == 200

    try:
        with running_child(program, stand.scratch / "damaged"):
            wait_until("the damaged build serves", up, seconds=20, errors=(httpx.TransportError,))
            yield stack
    finally:
        stack.close()


@contextlib.contextmanager
def damaged(stand: WebStand, change: Callable[[Path], None], **env: str) -> Iterator[Stack]:
    """A copy of the build, after ``change`` was done to it, is served inside the block."""
    copy = stand.scratch / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(stand.build, copy, symlinks=True, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(stand.build / "node_modules")
    change(copy)
    with served(stand, copy, **env) as stack:
        yield stack


def rewrite(folder: str, old: str, new: str, suffix: str = ".js") -> Callable[[Path], None]:
    """A change: ``old`` becomes ``new`` in every file below ``folder``; there must be one."""

    def change(build: Path) -> None:
        touched = 0
        for path in (build / folder).rglob(f"*{suffix}"):
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            if old in text:
                path.write_text(text.replace(old, new), encoding="utf-8", errors="surrogateescape")
                touched += 1
        assert touched, f"{old!r} is nowhere below {folder}"

    return change
