"""Negative controls of promotion and rollback: what was committed, and what nobody recorded."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.checks import promotion, rollback
from harness.environment.loader import load
from harness.evidence import Verdict
from harness.identity import LocalIdentities
from harness.secrets import SecretStore
from harness.stack import Stack

ROOT = Path(__file__).parents[2]


def git(root: Path, *arguments: str) -> None:
    identity = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.com"}
    identity |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.com"}
    environ = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, env=environ)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack whose repository is a new one, with one innocent commit."""
    root, state = tmp_path / "root", tmp_path / "state"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    commit(root, "README.md", "Nothing to see.\n")
    commit(root, ".env.example", "API_KEY=put yours here\n")
    made = Stack(root, state, load("local", ROOT).environment, SecretStore(root, state))
    made.identities_source = LocalIdentities(made)
    assert promotion.secrets_not_committed(made).verdict is Verdict.HOLDS
    return made


def commit(root: Path, name: str, content: str) -> None:
    (root / name).write_text(content)
    git(root, "add", "--force", name)
    git(root, "commit", "--quiet", "--message", f"change {name}")


def test_a_committed_secret_is_named(stack: Stack) -> None:
    secret = stack.secret("local:jwt_secret").reveal()
    commit(stack.root, "notes.txt", f"jwt: {secret}\n")
    commit(stack.root, "notes.txt", "nothing any more\n")  # too late: it is in the history
    evidence = promotion.secrets_not_committed(stack)
    assert evidence.verdict is Verdict.REFUTED
    (finding,) = evidence.findings
    assert finding.observed == "supabase.jwt_secret (plain)"
    assert finding.where.startswith("notes.txt (git show ")
    assert secret not in str(evidence.as_dict())


def test_a_secret_on_another_branch_or_only_staged_is_named(stack: Stack) -> None:
    git(stack.root, "checkout", "--quiet", "-b", "attempt")
    commit(stack.root, "a.py", f"KEY = {stack.secret('local:instant_api_key').reveal()!r}\n")
    git(stack.root, "checkout", "--quiet", "main")
    (stack.root / "b.py").write_text(stack.identities.service_role_key().reveal())
    git(stack.root, "add", "b.py")
    findings = promotion.secrets_not_committed(stack).findings
    assert {finding.where.partition(" ")[0] for finding in findings} == {"a.py", "b.py"}
    assert "instant.api_key (plain)" in {finding.observed for finding in findings}
    assert "the service role key (plain)" in {finding.observed for finding in findings}


BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj" * 2
KEYS = {
    "a private key": f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----\n",
    "an AWS access key": "aws = " + "AKIA" + "IOSFODNN7EXAMPLE\n",
    "a GitHub token": "ghp" + "_" + "a1B2" * 9,
    "a Supabase token": "sbp" + "_" + "0123456789" * 4,
    "a RunPod key": "rpa" + "_" + "ABCDEFGHIJ" * 4,
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_committed_key_is_named(stack: Stack, kind: str) -> None:
    commit(stack.root, "deploy.txt", KEYS[kind])
    (finding,) = promotion.secrets_not_committed(stack).findings
    assert finding.observed == kind
    assert finding.where.startswith("deploy.txt")


@pytest.mark.parametrize("name", [".env", ".env.local", ".env.production"])
def test_a_committed_env_file_is_named(stack: Stack, name: str) -> None:
    commit(stack.root, name, "A=b\n")
    (finding,) = promotion.secrets_not_committed(stack).findings
    assert finding.observed == name


def test_without_a_repository_nothing_is_claimed(stack: Stack, tmp_path: Path) -> None:
    stack.root = tmp_path / "elsewhere"
    stack.root.mkdir()
    assert promotion.secrets_not_committed(stack).verdict is Verdict.BLOCKED


def test_a_stage_that_nobody_recorded_is_no_pass(stack: Stack) -> None:
    evidence = promotion.stage_passed(stack, stage="smoke test")
    assert evidence.verdict is Verdict.BLOCKED
    assert evidence.summary.startswith("no provider: ")
    assert "smoke test" in evidence.summary


@pytest.mark.parametrize("name", rollback.__all__)
def test_a_way_back_that_nobody_provides_is_no_pass(stack: Stack, name: str) -> None:
    evidence = getattr(rollback, name)(stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert evidence.summary.startswith("no provider: ")
