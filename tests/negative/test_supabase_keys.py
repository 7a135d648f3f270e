"""The service role key put where it must not be, for real: a file, a log, an environment, an argument."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.checks import service_key
from harness.environment import Environment
from harness.identity import mint
from harness.secrets import Secret
from harness.stack import Stack
from tests.pg_fixture import ROOT, Database, free_port, running_data_api
from tests.supabase_proof import holds, refutes, told


def _checkout(stack: Stack, directory: Path) -> Stack:
    """The stack with another repository: a git checkout with one harmless file."""
    subprocess.run(["git", "init", "-q", str(directory)], check=True, timeout=30)
    (directory / "README.md").write_text("nothing to see\n")
    return Stack(
        directory,
        stack.state,
        stack.environment,
        stack.secrets,
        identities_source=stack.identities_source,
    )


def test_a_key_in_a_file_is_found(database_stack: Stack, tmp_path: Path) -> None:
    stack = _checkout(database_stack, tmp_path / "checkout")
    holds(service_key.in_files, stack)
    key = stack.identities.service_role_key().reveal()
    leak = stack.root / "notes.txt"
    for text in (key, base64.b64encode(b"x" + key.encode()).decode()):
        leak.write_text(text)
        evidence = refutes(service_key.in_files, stack, "notes.txt")
        assert key not in told(evidence)
    foreign = mint(Secret("the secret of some other project, 32 bytes"), {"role": "service_role"}).reveal()
    leak.write_text(f"KEY={foreign}\n")
    refutes(service_key.in_files, stack, "notes.txt", "a key with the role service_role")
    leak.unlink()
    holds(service_key.in_files, stack)


def test_a_public_key_in_a_file_is_none_of_its_business(database_stack: Stack, tmp_path: Path) -> None:
    stack = _checkout(database_stack, tmp_path / "checkout")
    (stack.root / "env").write_text(stack.identities.anon_key().reveal())
    holds(service_key.in_files, stack)


def test_a_key_in_a_log_is_found(database_stack: Stack) -> None:
    processes, logs = database_stack.processes, database_stack.logs
    processes.pids = {"gateway": 0, "web": 0}
    logs.written = {"gateway": ["started"], "web": ["started"]}
    holds(service_key.in_logs, database_stack)
    key = database_stack.identities.service_role_key().reveal()
    logs.written["web"].append(json.dumps({"authorization": f"Bearer {key}"}))
    evidence = refutes(service_key.in_logs, database_stack, "log of web, line 2")
    assert key not in told(evidence)
    logs.written["web"].pop()
    holds(service_key.in_logs, database_stack)


@contextmanager
def _program(*arguments: str, **environment: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()", *arguments], stdin=-1, env=environment)
    try:
        yield process.pid
    finally:
        process.communicate(b"\n", timeout=10)


def test_a_key_in_an_environment_is_found(database_stack: Stack) -> None:
    key = database_stack.identities.service_role_key().reveal()
    with _program(PATH="/usr/bin") as clean, _program(SUPABASE_SERVICE_ROLE_KEY=key) as leaking:
        database_stack.processes.pids = {"gateway": clean}
        holds(service_key.in_processes, database_stack)
        database_stack.processes.pids = {"gateway": clean, "web": leaking}
        evidence = refutes(service_key.in_processes, database_stack, f"environment of web (pid {leaking}")
        assert key not in told(evidence)


def test_a_key_in_an_argument_is_found(database_stack: Stack) -> None:
    key = database_stack.identities.service_role_key().reveal()
    with _program(f"--key={key}") as pid:
        database_stack.processes.pids = {"thinking": pid}
        refutes(service_key.in_processes, database_stack, f"arguments of thinking (pid {pid}")


def test_the_secret_behind_the_key_is_for_the_gateway_alone(database_stack: Stack) -> None:
    secret = database_stack.secret(database_stack.environment.supabase.jwt_secret).reveal()
    with _program(JWT_SECRET=secret) as pid:
        database_stack.processes.pids = {"gateway": pid}
        holds(service_key.in_processes, database_stack)
        database_stack.processes.pids = {"web": pid}
        refutes(service_key.in_processes, database_stack, "environment of web", "the JWT secret")


def test_no_programs_are_no_pass(database_stack: Stack) -> None:
    refutes(service_key.in_logs, database_stack, "none runs")
    refutes(service_key.in_processes, database_stack, "none runs")


def test_an_api_that_verifies_with_another_secret_is_seen(
    database_stack: Stack, database: Database, tmp_path: Path
) -> None:
    """The Data API of another project: right for that one's keys, and refuses the key of ours."""
    reference = database_stack.environment.supabase.jwt_secret
    own = database_stack.secret(reference)
    database_stack.secrets._values[reference] = Secret("the secret of some other project, 32 bytes")
    with running_data_api(database_stack, database, tmp_path / "other"):
        holds(service_key.not_forged, database_stack)
        database_stack.secrets._values[reference] = own
        refutes(service_key.not_forged, database_stack, "Data API, the real service key")


def test_a_public_key_that_is_a_service_key_is_seen(
    database_stack: Stack, database: Database, tmp_path: Path
) -> None:
    service = database_stack.identities.service_role_key()
    database_stack.secrets._values["local:published"] = service
    supabase = database_stack.environment.supabase.model_copy(update={"anon_key": "local:published"})
    database_stack.environment = database_stack.environment.model_copy(update={"supabase": supabase})
    with running_data_api(database_stack, database, tmp_path):
        refutes(
            service_key.not_forged,
            database_stack,
            "the public key",
            "role service_role",
            "HTTP 200 on profiles",
        )


def test_an_api_that_takes_unsigned_keys_is_seen(database_stack: Stack, database: Database) -> None:
    """A Data API that verifies nothing, for real: a server that answers 200 to every token."""
    port = free_port()
    text = database_stack.environment.model_dump(by_alias=True)
    text["supabase"]["api_url"] = f"http://127.0.0.1:{port}"
    database_stack.environment = Environment.model_validate(text)
    program = (
        "import http.server as h\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers()\n"
        "        self.wfile.write(b'[]')\n"
        "    def log_message(self, *a): pass\n"
        f"s = h.HTTPServer(('127.0.0.1', {port}), A); print('up', flush=True); s.serve_forever()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        refutes(
            service_key.not_forged,
            database_stack,
            "an expired service key",
            "signed with another secret",
            "alg none",
            "signature cut",
        )
    finally:
        process.kill()
        process.communicate(timeout=10)
