"""What is measured: our gateway with every policy on, nginx, LiteLLM, and the engine without anything."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from joserfc import jwt
from joserfc.jwk import OctKey

from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.selfhosted.bootstrap import bootstrap, set_passwords
from harness.secrets import Secret
from harness.waiting import wait_until
from tests.mortal import spawn

ROOT = Path(__file__).resolve().parents[2]
SECRET = "benchmark-secret-0123456789abcdef0123"
ISSUER = "http://127.0.0.1/auth/v1"
LITELLM = "litellm[proxy]==1.106.0"


@dataclass
class Peer:
    """Something on ``port`` that serves chats; ``pids`` are the processes whose time is its cost."""

    name: str
    port: int
    pids: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=lambda: ["benchmark-key"])

    def cpu_seconds(self) -> float:
        """CPU time of the peer's processes so far."""
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in self.pids)

    def pin(self, core: int) -> None:
        """Keep the peer's processes, all threads, on ``core``."""
        for pid in self.pids:
            for thread in psutil.Process(pid).threads():
                os.sched_setaffinity(thread.id, {core})


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> Callable[[], bool]:
    """Whether something accepts connections on ``port``."""

    def ask() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return ask


def answers(port: int, bearer: str) -> Callable[[], bool]:
    """Whether a chat is answered on ``port``."""

    def ask() -> bool:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json.dumps({"model": "instant", "messages": [{"role": "user", "content": "x"}]}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {bearer}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status == 200
        except (OSError, urllib.error.HTTPError):
            return False

    return ask


@contextlib.contextmanager
def process(argv: list[str], env: dict[str, str], log: Path, core: int | None = None) -> Iterator[int]:
    """A child for the duration of the block, on ``core``; its pid."""
    with log.open("ab") as out:
        child = spawn(
            argv,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(log.parent), **env},
            stdout=out,
            stderr=out,
        )
    if core is not None:
        os.sched_setaffinity(child.pid, {core})
    try:
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def ledger(work: Path, core: int) -> Iterator[str]:
    """A durable PostgreSQL with the ledger in it; yields the gateway's connection string."""
    server = EmbeddedPostgres(work / "postgres", free_port(), Secret(uuid.uuid4().hex))
    password = Secret(uuid.uuid4().hex)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # the server and its children inherit it
    try:
        with server.running():
            os.sched_setaffinity(0, before)
            bootstrap(server)
            set_passwords(server, {"postgres": password})
            with psycopg.connect(server.dsn("postgres", password)) as connection:
                for migration in sorted((ROOT / "supabase" / "migrations").glob("*_usage_*.sql")):
                    connection.execute(migration.read_bytes())
            set_passwords(server, {"gateway": password})
            yield f"postgresql://gateway:{password.reveal()}@127.0.0.1:{server.port}/postgres"
    finally:
        os.sched_setaffinity(0, before)
        server.destroy()


def access_token() -> str:
    """An access token of a user of its own."""
    now = int(time.time())
    claims = {"sub": str(uuid.uuid4()), "iss": ISSUER, "aud": "authenticated", "role": "authenticated"}
    return jwt.encode(
        {"alg": "HS256"}, {**claims, "iat": now, "exp": now + 7200}, OctKey.import_key(SECRET)
    )


@contextlib.contextmanager
def gateway(engine: int, database: str, work: Path) -> Iterator[Peer]:
    """Our gateway: tokens, limits, ledger, logs to a file, metrics; nothing is switched off."""
    port = free_port()
    env = {
        "ENVIRONMENT": "local",
        "RELEASE": "benchmark",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "info",
        "DATABASE_URL": database,
        "JWT_SECRET": SECRET,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": "authenticated",
        "METRICS_TOKEN": SECRET,
        "LIMIT_REQUEST_TOKENS": "4096",
        "LIMIT_USER_TOKENS_PER_DAY": "2000000000",
        "LIMIT_USER_CONCURRENCY": "64",
        "LIMIT_THINKING_TOKENS_PER_DAY": "2000000000",
        "ALLOWED_HOSTS": "127.0.0.1",
        "ALLOWED_ORIGINS": "http://localhost",
    }
    for name in ("INSTANT", "THINKING"):
        env |= {
            f"{name}_URL": f"http://127.0.0.1:{engine}",
            f"{name}_MODEL": "engine",
            f"{name}_KEY": SECRET,
        }
    env = {f"GATEWAY_{name}": value for name, value in env.items()}
    with process([sys.executable, "-m", "gateway"], env, work / "gateway.log") as pid:
        tokens = [access_token() for _ in range(64)]
        wait_until("the gateway", answers(port, tokens[0]), seconds=30)
        yield Peer("gateway", port, [pid], tokens)


NGINX = """
daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/nginx-error.log; {user}
events {{ worker_connections 1024; }}
http {{
  access_log {work}/nginx-access.log;
  client_body_temp_path {work}/nginx-body; proxy_temp_path {work}/nginx-proxy;
  fastcgi_temp_path {work}/nginx-f; uwsgi_temp_path {work}/nginx-u; scgi_temp_path {work}/nginx-s;
  keepalive_requests 1000000;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 128; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(engine: int, work: Path) -> Iterator[Peer]:
    """nginx as a plain reverse proxy, one worker, unbuffered, with an access log."""
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if program is None:
        raise SystemExit("nginx is not installed (Debian: apt-get install nginx-light)")
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = work / "nginx.conf"
    configuration.write_text(NGINX.format(work=work, engine=engine, port=port, user=user))
    with process(
        [program, "-c", str(configuration), "-e", str(work / "nginx-error.log")], {}, work / "nginx.log"
    ) as pid:
        wait_until("nginx", answers(port, "x"), seconds=10)
        children = [child.pid for child in psutil.Process(pid).children()]
        yield Peer("nginx", port, [pid, *children])


@contextlib.contextmanager
def litellm(engine: int, work: Path) -> Iterator[Peer]:
    """LiteLLM's proxy, one worker, no database, in an environment of its own."""
    home = ROOT / ".harness" / "bench-venv"
    if not (home / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=120)
        pip = [str(home / "bin" / "pip"), "install", "--quiet", LITELLM]
        subprocess.run(pip, check=True, timeout=900)
    port = free_port()
    configuration = work / "litellm.yaml"
    base = f"http://127.0.0.1:{engine}/v1"
    parameters = {"model": "openai/engine", "api_base": base, "api_key": "benchmark-key"}
    models = [{"model_name": "instant", "litellm_params": parameters}]
    configuration.write_text(json.dumps({"model_list": models}))  # JSON is YAML
    argv = [str(home / "bin" / "litellm"), "--config", str(configuration), "--port", str(port)]
    key = f"sk-{SECRET}"
    env = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
    }
    argv += ["--host", "127.0.0.1", "--num_workers", "1"]
    with process(argv, env, work / "litellm.log") as pid:
        wait_until("LiteLLM", answers(port, key), seconds=120)
        children = [child.pid for child in psutil.Process(pid).children(recursive=True)]
        yield Peer("LiteLLM", port, [pid, *children], [key])


@contextlib.contextmanager
def direct(chunks: int, work: Path, core: int) -> Iterator[Peer]:
    """The engine itself."""
    port = free_port()
    argv = [sys.executable, "-m", "benchmarks.gateway.engine", str(port), str(chunks)]
    with process(argv, {}, work / "engine.log", core) as pid:
        wait_until("the engine", listening(port), seconds=10)
        yield Peer("direct", port, [pid])
