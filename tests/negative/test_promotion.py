"""Negative controls of promotion and rollback: what was committed, let in and approved."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.attestation import dsse, strict_json
from harness.checks import promotion, rollback
from harness.environment.loader import load
from harness.evidence import Verdict
from harness.identity import LocalIdentities
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.attack.stand import EVE, write_tree
from tests.promotion_stand import PRODUCTION, Deposit

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


def test_a_shallow_clone_claims_nothing(stack: Stack, tmp_path: Path) -> None:
    """What a pipeline checks out at depth 1 lacks the very commit that holds the secret."""
    commit(stack.root, ".env", "A=b\n")
    git(stack.root, "rm", "--quiet", ".env")
    git(stack.root, "commit", "--quiet", "--message", "as if nothing had been")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{stack.root}", "shallow")
    stack.root = tmp_path / "shallow"
    evidence = promotion.secrets_not_committed(stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert "git fetch --unshallow" in evidence.summary
    git(stack.root, "fetch", "--quiet", "--unshallow")
    assert promotion.secrets_not_committed(stack).verdict is Verdict.REFUTED


def test_without_a_repository_nothing_is_claimed(stack: Stack, tmp_path: Path) -> None:
    stack.root = tmp_path / "elsewhere"
    stack.root.mkdir()
    assert promotion.secrets_not_committed(stack).verdict is Verdict.BLOCKED


@pytest.fixture
def promoted(tmp_path: Path) -> Stack:
    """Production, into which the gate has just let a release that dana has approved."""
    deposit = Deposit(write_tree(tmp_path / "promoted"))
    deposit.approve()
    promotion = deposit.promotion()
    assert promotion.decide().open
    promotion.claim(PRODUCTION)
    environment = promotion.environment
    gate = environment.gate.model_copy(update={"public_key": PRODUCTION.public.text})
    environment = environment.model_copy(update={"gate": gate})
    made = Stack(
        deposit.root, tmp_path / "state", environment, SecretStore(deposit.root, tmp_path / "state")
    )
    made.release = promotion.release
    assert promotion_checks(made) == [Verdict.HOLDS, Verdict.HOLDS]
    return made


def promotion_checks(stack: Stack) -> list[Verdict]:
    return [check(stack).verdict for check in (promotion.let_in, promotion.approved)]


def decisions(stack: Stack) -> list[Path]:
    return sorted((stack.root / ".harness" / "evidence" / "decisions" / "production").iterdir())


def test_a_release_that_no_decision_lets_in_is_named(promoted: Stack) -> None:
    decisions(promoted)[0].unlink()
    evidence = promotion.let_in(promoted)
    assert evidence.verdict is Verdict.REFUTED
    assert promoted.release is not None
    assert evidence.summary == f"{promoted.release.name}: no decision about it"
    assert promotion.approved(promoted).verdict is Verdict.REFUTED


def test_a_decision_that_another_key_signed_counts_for_nothing(promoted: Stack) -> None:
    [path] = decisions(promoted)
    payload = dsse.unseal(path.read_bytes()).payload
    path.write_bytes(dsse.seal(payload, [EVE]))
    assert "is not signed by this environment's key" in promotion.let_in(promoted).findings[0].observed
    assert promotion.approved(promoted).verdict is Verdict.REFUTED


def test_a_decision_about_another_release_counts_for_nothing(promoted: Stack) -> None:
    assert promoted.release is not None
    artefacts = {**promoted.release.artefacts, "gateway-image": "sha256:" + "e" * 64}
    promoted.release = replace(promoted.release, artefacts=artefacts)
    assert promotion_checks(promoted) == [Verdict.REFUTED, Verdict.REFUTED]


def test_a_newer_refusal_counts(promoted: Stack) -> None:
    [path] = decisions(promoted)
    found = json.loads(dsse.unseal(path.read_bytes()).payload)
    found["predicate"].update(verificationResult="FAILED", verifiedLevels=[], reasons=["too old"])
    newer = path.with_name(f"{path.name.partition('.')[0]}.99990101T000000000000Z.json")
    newer.write_bytes(dsse.seal(strict_json.dumps(found), [PRODUCTION]))
    assert promotion.let_in(promoted).findings[0].observed == "too old"


def test_a_decision_without_an_approval_is_named(promoted: Stack) -> None:
    [path] = decisions(promoted)
    found = json.loads(dsse.unseal(path.read_bytes()).payload)
    found["predicate"]["verifiedLevels"] = ["PROMOTED_TO_PRODUCTION"]
    path.write_bytes(dsse.seal(strict_json.dumps(found), [PRODUCTION]))
    assert promotion_checks(promoted) == [Verdict.HOLDS, Verdict.REFUTED]
    assert promotion.approved(promoted).findings[0].expected == "APPROVED_BY_1"


def test_without_a_release_nothing_is_claimed(promoted: Stack) -> None:
    promoted.release = None
    assert promotion_checks(promoted) == [Verdict.BLOCKED, Verdict.BLOCKED]


@pytest.mark.parametrize("name", rollback.__all__)
def test_a_way_back_that_nobody_provides_is_no_pass(stack: Stack, name: str) -> None:
    evidence = getattr(rollback, name)(stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert evidence.summary.startswith("no provider: ")
