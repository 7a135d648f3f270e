"""The service role key bypasses every policy: where is it, who has it, and what passes for it?"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.checks.base import check
from harness.checks.leaks import Needles
from harness.evidence import Evidence, Finding, judge
from harness.hosts.place import Place, SeenProcess, descendants
from harness.identity import mint
from harness.provenance import git_environ
from harness.secrets import Secret
from harness.stack import Stack

__all__ = ["in_files", "in_logs", "in_processes", "not_forged"]

_JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.(eyJ[A-Za-z0-9_-]{8,})\.[A-Za-z0-9_-]{16,}")
_SECRET_KEY = re.compile(rb"sb_secret_[A-Za-z0-9_-]{16,}")
_ROTATE = "remove it there, then rotate the project's keys: whoever saw it can read everything"
_NOT_SOURCES = {".git", ".harness", ".venv", "node_modules", ".next", "__pycache__"}
# Who may know the JWT secret, from which a service key can be made: PostgREST, and the gateway (HS256).
_JWT_SECRET_HOLDERS = ("postgrest", "gateway")


def _needles(stack: Stack) -> Needles:
    return Needles({"the service role key": stack.identities.service_role_key().reveal()})


@check("supabase.service_key.files", component="supabase")
def in_files(stack: Stack) -> Evidence:
    """No file of the repository holds a service role key: neither this project's nor another's."""
    needles = _needles(stack)
    findings: list[Finding] = []
    files = 0
    for path in _sources(stack.root):
        files += 1
        data = path.read_bytes()
        what = [str(hit) for hit in needles.in_bytes(data)]
        what += [
            "a key with the role service_role"
            for body in _JWT.findall(data)
            if _role(body) == "service_role"
        ]
        what += ["a secret key (sb_secret_)" for _ in _SECRET_KEY.findall(data)]
        if what:
            where = str(path.relative_to(stack.root))
            findings.append(Finding("no service key in the repository", what[0], where, _ROTATE))
    if not files:
        remedy = "run it in a checkout"
        findings.append(Finding("files to search", "none found", str(stack.root), remedy))
    return judge(f"{files} files of the repository: no service role key, in any encoding", findings)


def _sources(root: Path) -> Iterator[Path]:
    """The files under version control; without git, every file that is not made or installed."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        timeout=30,
        check=False,
        env=git_environ(),
    )
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    else:
        names = [path.relative_to(root) for path in root.rglob("*")]
    for name in names:
        path = root / name
        if not _NOT_SOURCES.intersection(name.parts) and path.is_file():
            yield path


def _role(body: bytes) -> str:
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
    except ValueError:
        return ""
    return str(claims.get("role", "")) if isinstance(claims, dict) else ""


@check("supabase.service_key.logs", component="supabase", needs=("gateway", "web", "instant", "thinking"))
def in_logs(stack: Stack) -> Evidence:
    """No program of the stack has ever logged the service role key."""
    needles = _needles(stack)
    findings = []
    lines = 0
    programs = sorted({process.name for process in stack.processes.programs()})
    for program in programs:
        for number, line in enumerate(stack.logs.lines(program), start=1):
            lines += 1
            if hits := needles.in_text(line):
                where = f"log of {program}, line {number}"
                findings.append(Finding("no service key in a log", str(hits[0]), where, _ROTATE))
    if not programs:
        findings.append(Finding("programs to look at", "none runs", "process manager", "deploy the stack"))
    return judge(f"{lines} lines of {len(programs)} programs: no service role key", findings)


@check(
    "supabase.service_key.processes", component="supabase", needs=("gateway", "web", "instant", "thinking")
)
def in_processes(stack: Stack) -> Evidence:
    """No process has the service role key in its arguments or environment, nor the secret to make one."""
    jwt_secret = stack.secret(stack.environment.supabase.jwt_secret).reveal()
    key, secret = _needles(stack), Needles({"the JWT secret, which makes service keys": jwt_secret})
    findings = []
    seen = 0
    programs = sorted({program.name for program in stack.processes.programs()})
    for program, place, processes in _running(stack, programs):
        seen += len(processes)
        environments = place.environments(process.pid for process in processes)
        for process in processes:
            texts = {
                "arguments": "\0".join(process.arguments),
                "environment": environments.get(process.pid, ""),
            }
            for kind, text in texts.items():
                hits = key.in_text(text)
                if kind == "arguments" or program not in _JWT_SECRET_HOLDERS:
                    hits += secret.in_text(text)
                if hits:
                    on = f" on {place.machine}" if place.machine else ""
                    where = f"{kind} of {program} (pid {process.pid}, {process.name}){on}"
                    remedy = f"do not hand it to {program}; {_ROTATE}"
                    findings.append(Finding("not there", str(hits[0]), where, remedy))
    if not programs:
        findings.append(Finding("programs to look at", "none runs", "process manager", "deploy the stack"))
    summary = f"arguments and environments of {seen} processes of {len(programs)} programs: clean"
    return judge(summary, findings, processes=seen)


def _running(stack: Stack, programs: list[str]) -> Iterator[tuple[str, Place, list[SeenProcess]]]:
    """Each program, each machine that it runs on, and its processes there; one look at each machine."""
    machines: dict[str, tuple[Place, list[SeenProcess]]] = {}
    for program in programs:
        for place, pid in stack.processes.instances(program):
            if place.machine not in machines:
                machines[place.machine] = place, place.processes()
            yield program, place, descendants(machines[place.machine][1], pid)


@check("supabase.service_key.forged", component="supabase")
def not_forged(stack: Stack) -> Evidence:
    """Only the real key is one: expired, forged and unsigned ones are refused, and the anon key is anon."""
    now = int(time.time())
    real = stack.secret(stack.environment.supabase.jwt_secret)
    service = {"iss": "supabase", "role": "service_role", "iat": now - 7200}
    good = stack.identities.service_role_key().reveal()
    attempts = {
        "an expired service key": mint(real, {**service, "exp": now - 3600}).reveal(),
        "a service key signed with another secret": mint(
            Secret("not-the-secret-of-this-project-at-all"), {**service, "exp": now + 3600}
        ).reveal(),
        "an unsigned service key (alg none)": _unsigned({**service, "exp": now + 3600}),
        "the service key with its signature cut": good.rpartition(".")[0] + ".",
    }
    findings = []
    for name, token in attempts.items():
        status = _profiles(stack, token)
        if status != 401:
            remedy = "let the Data API verify tokens with the project's JWT secret (PostgREST: jwt-secret)"
            findings.append(Finding("HTTP 401", f"HTTP {status}", f"Data API, {name}", remedy))
    status = _profiles(stack, good)
    if status != 200:
        remedy = "is the service role key that of this project?"
        findings.append(Finding("HTTP 200", f"HTTP {status}", "Data API, the real service key", remedy))
    findings += _anon_is_anon(stack)
    return judge(
        f"{len(attempts)} false service keys refused, the real one accepted; anon is anon", findings
    )


def _anon_is_anon(stack: Stack) -> list[Finding]:
    anon = stack.identities.anon_key().reveal()
    findings = []
    body = anon.split(".")[1].encode() if anon.count(".") == 2 else b""
    if body and _role(body) != "anon":
        observed = f"role {_role(body) or 'unknown'}"
        findings.append(
            Finding("role anon", observed, "the public key", "publish the anon key instead; rotate")
        )
    status = _profiles(stack, anon)
    if status not in (401, 403):
        observed = f"HTTP {status} on profiles"
        remedy = "revoke all on public.profiles from anon; and check which key is published as public"
        findings.append(Finding("HTTP 401 or 403", observed, "Data API, the public key", remedy))
    return findings


def _unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join(encoded) + "."


def _profiles(stack: Stack, token: str) -> int:
    headers = {"apikey": stack.identities.anon_key().reveal(), "Authorization": f"Bearer {token}"}
    client = stack.http(stack.environment.supabase.api_url)
    return client.get("/rest/v1/profiles?select=id&limit=1", headers=headers).status_code
