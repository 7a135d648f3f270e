"""The journal of an environment: read from the evidence that its runs have signed, so that it cannot differ
from it; and how long that evidence is kept.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from harness.attestation.keys import PublicKey, Signer, signer
from harness.attestation.statement import TestResult
from harness.attestation.strict_json import Malformed
from harness.claims import claimed_runs
from harness.environment import Environment
from harness.environment.gate import Gate
from harness.errors import ConfigurationError, Problem
from harness.release import Release
from harness.runs import ENDING, Kept, newest_first
from harness.secrets import SecretStore
from harness.store import Store

__all__ = ["Entry", "Running", "expired", "journal", "own_key", "own_signer", "running_release"]

_PARTS = (ENDING, ".html", ".release.json", ".environment.yaml")


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

    @property
    def unverified(self) -> str:
        """A warning, when nobody has verified the signature of that run; or nothing."""
        if self.entry.trust == "verified":
            return ""
        return (
            "not verified: no public key of this environment is known here, so anybody may have written it"
        )


def own_key(environment: Environment, secrets: SecretStore) -> PublicKey | None:
    """The public half of the key that signs the environment's evidence; None when it is not known here."""
    if environment.gate.public_key:
        return PublicKey.parse(environment.gate.public_key)
    try:
        return signer(secrets.resolve(environment.gate.signing_key)).public
    except ConfigurationError:
        return None


def own_signer(environment: Environment, secrets: SecretStore) -> Signer:
    """The key that signs what the environment says.

    Raises:
        ConfigurationError: when it is not known here, or not the private half of what is pinned.
    """
    gate = environment.gate
    found = signer(secrets.resolve(gate.signing_key))
    if gate.public_key and found.public.text != gate.public_key:
        what = f"is not the private half of gate.public_key, but of {found.public.text}"
        raise ConfigurationError([Problem(gate.signing_key, what, "correct one of them")], title="keys")
    return found


def journal(store: Store, environment: str, key: PublicKey | None) -> Iterator[Entry]:
    """The runs of ``environment``, newest first."""
    for kept in newest_first(store, environment):
        yield _entry(kept, key)


def _entry(kept: Kept, key: PublicKey | None) -> Entry:
    run, where = kept.run, kept.sealed.where
    try:
        signed = key is None or bool(kept.sealed.envelope.signed_by([key]))
    except Malformed as malformed:
        return Entry(run, where, str(malformed))
    if not signed:
        return Entry(run, where, "not signed by this environment's key")
    if kept.problem:
        return Entry(run, where, kept.problem)
    return Entry(run, where, "verified" if key else "unverified", kept.result)


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


def expired(
    store: Store, environment: str, gate: Gate, now: dt.datetime, key: PublicKey | None = None
) -> list[str]:
    """What retention lets go: runs older than ``keep_days``, the newest ``keep_at_least`` excepted.

    Kept for as long as it counts: the pass of the release that runs (it is the way back), and what a
    promotion stands on.
    """
    oldest = f"{now - dt.timedelta(days=gate.keep_days):%Y%m%dT%H%M%S}"
    names = store.names(f"runs/{environment}/")
    runs = sorted({_run(name) for name in names}, reverse=True)
    gone = {run for run in runs[gate.keep_at_least :] if run < oldest}
    if gone:
        running = running_release(store, environment, key)
        gone -= claimed_runs(store, environment) | ({running.entry.run} if running else set())
    return [name for name in names if _run(name) in gone]


def _run(name: str) -> str:
    last = name.rpartition("/")[2]
    return next((last.removesuffix(part) for part in _PARTS if last.endswith(part)), last)
