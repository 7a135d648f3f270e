"""The way from a commit to production: what may be committed, and which stages a release has passed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.attestation import dsse
from harness.attestation.statement import SUMMARY, Summary, read
from harness.attestation.strict_json import Malformed
from harness.checks.base import check
from harness.checks.leaks import Needles, declared_secrets
from harness.errors import HarnessError, NoProvider
from harness.evidence import Evidence, Finding, holds, judge, refuted
from harness.gate import approved_level
from harness.history import own_key
from harness.provenance import git_environ
from harness.stack import Stack
from harness.store import open_store

__all__ = ["Blob", "approved", "blobs", "faults", "let_in", "secrets_not_committed"]

_KEY_MATERIAL: dict[str, tuple[tuple[bytes, ...], re.Pattern[bytes]]] = {
    name: (marks, re.compile(pattern))
    for name, marks, pattern in (
        (
            "a private key",
            (b"-----BEGIN ",),
            rb"-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY-----(?:\\n|\s)+[A-Za-z0-9+/=\\\s]{64,}",
        ),
        ("an AWS access key", (b"AKIA", b"ASIA"), rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        (
            "a GitHub token",
            (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
            rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})\b",
        ),
        (
            "a Supabase token",
            (b"sbp_", b"sb_secret_"),
            rb"\b(?:sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_-]{20,})\b",
        ),
        ("a RunPod key", (b"rpa_",), rb"\brpa_[A-Z0-9]{40,}\b"),
        ("a Slack token", (b"xox",), rb"\bxox[abprs]-[0-9A-Za-z-]{20,}\b"),
    )
}
"""Name: what every such key contains, and its form. What lacks the one is not searched for the other."""
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


@check("promotion.let_in", component="supabase")
def let_in(stack: Stack) -> Evidence:
    """The gate has let in this very release: its newest decision about it is signed, and says so."""
    found = _decisions_about(stack)
    return found if isinstance(found, Evidence) else holds(f"let in at {found[0].time_verified}")


@check("promotion.approved", component="supabase")
def approved(stack: Stack) -> Evidence:
    """As many people as the environment asks for have approved this very release."""
    approvals = stack.environment.gate.approvals
    found = _decisions_about(stack)
    if isinstance(found, Evidence):
        return found
    level = approved_level(approvals.count if approvals else 1)
    when = [decision.time_verified for decision in found if level in decision.verified_levels]
    if approvals is None or not when:  # a release that comes back was approved when it came first
        seen = ", ".join(dict.fromkeys(name for d in found for name in d.verified_levels)) or "nothing"
        remedy = "name approvers in gate.approvals; promote again, with: harness approve"
        return refuted(f"{level} is not among {seen}", Finding(level, seen, _decisions(stack), remedy))
    return holds(f"{level.lower().replace('_', ' ')}, at {when[0]}")


def _decisions(stack: Stack) -> str:
    return f"decisions/{stack.environment.environment}/"


def _decisions_about(stack: Stack) -> list[Summary] | Evidence:
    """The decisions that let in the release that is deployed, newest first; or why there is none.

    A refusal that is newer than all of them counts.
    """
    if stack.release is None:
        raise NoProvider("nothing says which release is deployed here")
    key = own_key(stack.environment, stack.secrets)
    store = open_store(stack.environment, stack.root, stack.secrets)
    remedy = f"promote it: pytest --env {stack.environment.environment} features/"
    seen = "no decision about it"
    passed: list[Summary] = []
    for name in sorted(store.names(_decisions(stack)), key=lambda name: name.split(".")[1:], reverse=True):
        try:
            envelope = dsse.unseal(store.get(name) or b"")
            if key is None or not envelope.signed_by([key]):
                seen = f"{name} is not signed by this environment's key"
                continue
            found = read(envelope.payload, Summary, SUMMARY)
        except Malformed as malformed:
            seen = f"{name} {malformed}"
            continue
        if {s.name: s.digest.text for s in found.subject} != stack.release.subjects:
            continue
        if found.predicate.verification_result == "PASSED":
            passed.append(found.predicate)
        elif not passed:
            seen = "; ".join(found.predicate.reasons) or "refused"
            break
    if passed:
        return passed
    expected = f"a signed decision that lets in {stack.release.name}"
    return refuted(f"{stack.release.name}: {seen}", Finding(expected, seen, _decisions(stack), remedy))


@dataclass(frozen=True)
class Blob:
    """One version of a file that git keeps; ``path`` is one of the places where it was."""

    id: str
    path: str
    content: bytes


def blobs(root: Path) -> Iterator[Blob]:
    """Every version of every file in the history of the repository at ``root``, and in its index.

    Raises:
        HarnessError: when it is no repository, git is not there, or the history is not all there.
    """
    if _git(root, "rev-parse", "--is-shallow-repository").strip() != b"false":
        raise HarnessError(
            "this clone is shallow: what was committed before it is not here to be looked at; "
            "fetch the rest: git fetch --unshallow (in a workflow: fetch-depth: 0)"
        )
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
    for name, (marks, pattern) in _KEY_MATERIAL.items():
        if any(mark in blob.content for mark in marks) and pattern.search(blob.content):
            yield Finding("no key in a commit", name, where, remedy)
    if _ENV_FILE.match(PurePosixPath(blob.path).name):
        yield Finding("no .env file in a commit", blob.path, where, "add it to .gitignore; remove it")


def _git(root: Path, *arguments: str, sent: bytes = b"") -> bytes:
    # safe.directory: root may look at the checkout of an ordinary user
    argv = ["git", "-c", f"safe.directory={root.resolve()}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            argv, input=sent, capture_output=True, timeout=_SECONDS, check=False, env=git_environ()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"git cannot be asked what is committed: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HarnessError(f"git cannot say what is committed: {said[-1] if said else 'no reason given'}")
    return done.stdout
