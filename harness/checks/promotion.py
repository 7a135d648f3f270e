"""The way from a commit to production: what may be committed, and which stages a release has passed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.checks.base import check
from harness.checks.leaks import Needles, declared_secrets
from harness.errors import HarnessError, NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.stack import Stack

__all__ = ["Blob", "blobs", "faults", "secrets_not_committed", "stage_passed"]

_KEY_MATERIAL = {
    "a private key": rb"-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY-----(?:\\n|\s)+[A-Za-z0-9+/=\\\s]{64,}",
    "an AWS access key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})\b",
    "a Supabase token": rb"\b(?:sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_-]{20,})\b",
    "a RunPod key": rb"\brpa_[A-Z0-9]{40,}\b",
    "a Slack token": rb"\bxox[abprs]-[0-9A-Za-z-]{20,}\b",
}
_PATTERNS = {name: re.compile(pattern) for name, pattern in _KEY_MATERIAL.items()}
_ENV_FILE = re.compile(r"^\.env(\.(?!example$|sample$|template$)\w+)*$")
_SECONDS = 60.0


@check("promotion.secrets", component="supabase")
def secrets_not_committed(stack: Stack) -> Evidence:
    """No commit, on any branch, holds a secret of this environment, a private key or a .env file."""
    values = declared_secrets(stack)
    needles = Needles(values)
    found = list(blobs(stack.root))
    findings = [finding for blob in found for finding in faults(blob, needles)]
    summary = f"{len(found)} committed versions of files hold none of {len(values)} secrets, and no key"
    return judge(summary, findings, versions=len(found))


@check("promotion.stage", component="web", needs=("supabase", "instant", "thinking", "gateway"))
def stage_passed(stack: Stack, stage: str) -> Evidence:
    """The pipeline has passed the stage for the very release that is deployed here."""
    raise NoProvider(f"nothing keeps what the pipeline's stage {stage!r} did for a release yet")


@dataclass(frozen=True)
class Blob:
    """One version of a file that git keeps; ``path`` is one of the places where it was."""

    id: str
    path: str
    content: bytes


def blobs(root: Path) -> Iterator[Blob]:
    """Every version of every file in the history of the repository at ``root``, and in its index.

    Raises:
        HarnessError: when it is no repository, or git is not there.
    """
    listed = _git(root, "rev-list", "--objects", "--all", "--indexed-objects")
    places: dict[str, str] = {}
    for line in listed.decode("utf-8", "surrogateescape").splitlines():
        identifier, _, path = line.partition(" ")
        if path:
            places[identifier] = path
    output = _git(root, "cat-file", "--batch", "--buffer", sent="\n".join(places).encode() + b"\n")
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        identifier, kind, size = output[position:end].decode().split(" ")
        content = output[end + 1 : end + 1 + int(size)]
        position = end + 2 + int(size)
        if kind == "blob":
            yield Blob(identifier, places[identifier], content)


def faults(blob: Blob, needles: Needles) -> Iterator[Finding]:
    """What must not have been committed in ``blob``."""
    where = f"{blob.path} (git show {blob.id[:12]})"
    remedy = "change the secret now: who has the repository has it; then remove it from the history"
    for name in sorted({str(hit) for hit in needles.in_bytes(blob.content)}):
        yield Finding("no secret in a commit", name, where, remedy)
    for name, pattern in _PATTERNS.items():
        if pattern.search(blob.content):
            yield Finding("no key in a commit", name, where, remedy)
    if _ENV_FILE.match(PurePosixPath(blob.path).name):
        yield Finding("no .env file in a commit", blob.path, where, "add it to .gitignore; remove it")


def _git(root: Path, *arguments: str, sent: bytes = b"") -> bytes:
    # safe.directory: root may look at the checkout of an ordinary user
    argv = ["git", "-c", f"safe.directory={root.resolve()}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(argv, input=sent, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"git cannot be asked what is committed: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HarnessError(f"git cannot say what is committed: {said[-1] if said else 'no reason given'}")
    return done.stdout
