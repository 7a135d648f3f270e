"""What runs of the miniature leave in the store, for the tests of evidence, gate and drift."""

from __future__ import annotations

from pathlib import Path

from harness.attestation import dsse
from harness.attestation.keys import PublicKey
from harness.attestation.statement import TEST_RESULT, Statement, TestResult, read
from harness.environment.loader import load
from harness.history import own_key
from harness.secrets import SecretStore
from tests.plugin.miniature_project import Miniature

GATE = """gate:
  signing_key: local:runner_key
  runners:
    - name: laptop
      key: {key}
"""
REFUTED = """
    Feature: Extra

      @env:local
      Scenario: Refuted
        Given the gateway is deployed
        Then it is refuted
"""


def evidence(project: Miniature, env: str = "local") -> list[Path]:
    return sorted((project.root / ".harness" / "evidence" / "runs" / env).glob("*.intoto.json"))


def key_of(project: Miniature, env: str = "local") -> PublicKey:
    environment = load(env, project.root).environment
    found = own_key(environment, SecretStore(project.root, project.root / ".harness" / env))
    assert found is not None
    return found


def stated(project: Miniature, env: str = "local") -> Statement[TestResult]:
    """What the newest evidence says, verified."""
    envelope = dsse.unseal(evidence(project, env)[-1].read_bytes())
    assert envelope.signed_by([key_of(project, env)]), "not signed by the environment's key"
    return read(envelope.payload, TestResult, TEST_RESULT)
