"""The journal of an environment: read from the evidence that its runs have signed, so that it cannot differ
from it; and how long that evidence is kept.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from harness.attestation import dsse, statement
from harness.attestation.keys import PublicKey, signer
from harness.attestation.statement import TestResult
from harness.attestation.strict_json import Malformed
from harness.environment import Environment
from harness.environment.gate import Gate
from harness.errors import ConfigurationError
from harness.release import Release
from harness.secrets import SecretStore
from harness.store import Store

__all__ = ["Entry", "Running", "expired", "journal", "own_key", "running_release"]

_PARTS = (".intoto.json", ".html", ".release.json", ".environment.yaml")


@dataclass(frozen=True)
class Entry:
    """One run. ``trust`` is verified, unverified (no key is known here), or why it is not believed."""

    run: str
    where: str
    trust: str
    result: TestResult | None = None

    @property
    def passed(self) -> bool:
        """Whether it deployed, and every check that applies held."""
        result = self.result
        return result is not None and result.mode == "deploy" and result.result in ("PASSED", "WARNED")

    @property
    def believed(self) -> bool:
        """Whether nothing speaks against its signature."""
        return self.trust in ("verified", "unverified")


@dataclass(frozen=True)
class Running:
    """What runs in an environment, as far as evidence tells: its newest passing run."""

    entry: Entry
    release: Release
    environment_file: str
    unproven: str = ""
    """Why something else may run there: what happened after that run."""


def own_key(environment: Environment, secrets: SecretStore) -> PublicKey | None:
    """The public half of the key that signs the environment's evidence; None when it is not known here."""
    if environment.gate.public_key:
        return PublicKey.parse(environment.gate.public_key)
    try:
        return signer(secrets.resolve(environment.gate.signing_key)).public
    except ConfigurationError:
        return None


def journal(store: Store, environment: str, key: PublicKey | None) -> Iterator[Entry]:
    """The runs of ``environment``, newest first."""
    for name in reversed(store.names(f"runs/{environment}/")):
        if name.endswith(".intoto.json"):
            yield _entry(store, name, key)


def _entry(store: Store, name: str, key: PublicKey | None) -> Entry:
    run = name.rpartition("/")[2].removesuffix(".intoto.json")
    where = store.where(name)
    try:
        envelope = dsse.unseal(store.get(name) or b"")
        if key is not None and not envelope.signed_by([key]):
            return Entry(run, where, "not signed by this environment's key")
        found = statement.read(envelope.payload, TestResult, statement.TEST_RESULT)
    except Malformed as malformed:
        return Entry(run, where, str(malformed))
    return Entry(run, where, "verified" if key else "unverified", found.predicate)


def running_release(store: Store, environment: str, key: PublicKey | None) -> Running | None:
    """What runs in ``environment``: the release of its newest passing run that is believed.

    None when no run has passed yet.
    """
    later: list[Entry] = []
    for entry in journal(store, environment, key):
        if not entry.believed or entry.result is None or entry.result.mode != "deploy":
            continue
        if entry.passed:
            base = f"runs/{environment}/{entry.run}"
            try:
                release = Release.parse(store.get(f"{base}.release.json") or b"")
            except Malformed:
                continue
            if release.digest == entry.result.release:
                text = (store.get(f"{base}.environment.yaml") or b"").decode("utf-8", "replace")
                return Running(entry, release, text, _unproven(later))
        later.append(entry)
    return None


def _unproven(later: list[Entry]) -> str:
    if not later or later[0].result is None:
        return ""
    newest = later[0].result
    return f"a later run ({newest.run}, by {newest.by}) did not pass: something else may run there now"


def expired(store: Store, environment: str, gate: Gate, now: dt.datetime) -> list[str]:
    """What retention lets go: runs older than ``keep_days``, the newest ``keep_at_least`` excepted."""
    oldest = f"{now - dt.timedelta(days=gate.keep_days):%Y%m%dT%H%M%S}"
    names = store.names(f"runs/{environment}/")
    runs = sorted({_run(name) for name in names}, reverse=True)
    gone = {run for run in runs[gate.keep_at_least :] if run < oldest}
    return [name for name in names if _run(name) in gone]


def _run(name: str) -> str:
    last = name.rpartition("/")[2]
    return next((last.removesuffix(part) for part in _PARTS if last.endswith(part)), last)
