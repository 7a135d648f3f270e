"""What is written down about promotions that were begun, in the store of an environment:

promotions/ENV/PROMOTION.json      written once, before anything is deployed: that promotion is used
promotions/ENV/PROMOTION.end.json  how it ended; without it, somebody was killed in between
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping

from harness.attestation import strict_json
from harness.attestation.statement import stamp
from harness.attestation.strict_json import Malformed
from harness.store import Store

__all__ = ["UNTOUCHED", "claimed_runs", "end", "newest", "take", "unended", "used"]

UNTOUCHED = "nothing was deployed"
"""What the outcome of a promotion begins with that was taken, and then came to nothing."""
_LONGEST_RUN = 60.0  # minutes; as long as the pipeline's jobs may take


def take(store: Store, environment: str, promotion: str, record: Mapping[str, str]) -> None:
    """Use ``promotion``.

    Raises:
        AlreadyThere: when somebody else was faster.
        HarnessError: when the store cannot be written to.
    """
    begun = {"promotion": promotion, **record, "begun": stamp(dt.datetime.now(dt.UTC))}
    store.put(f"{_folder(environment)}{promotion}.json", json.dumps(begun, indent=2).encode())


def end(store: Store, environment: str, promotion: str, outcome: str) -> None:
    """Write down how what had used ``promotion`` ended.

    Raises:
        HarnessError: when the store cannot be written to.
    """
    ended = {"outcome": outcome, "ended": stamp(dt.datetime.now(dt.UTC))}
    store.put(f"{_folder(environment)}{promotion}.end.json", json.dumps(ended, indent=2).encode())


def used(store: Store, environment: str) -> dict[str, str]:
    """Promotion: when and by whom it was used."""
    return {promotion: _told(store, name) for promotion, name in _begun(store, environment).items()}


def unended(store: Store, environment: str, now: dt.datetime) -> dict[str, str]:
    """Promotions that were begun and have not ended: what they have deployed is proven by nothing yet."""
    ended = {name.rpartition("/")[2].removesuffix(".end.json") for name in _ends(store, environment)}
    return {
        promotion: _not_ended(_record(store, name), now)
        for promotion, name in _begun(store, environment).items()
        if promotion not in ended
    }


def newest(store: Store, environment: str) -> tuple[dict[str, str], dict[str, str]]:
    """What was written down of the promotion that was begun last, and of its end; empty: nothing."""
    found = [(_record(store, name), name) for name in _begun(store, environment).values()]
    if not found:
        return {}, {}
    begun, name = max(found, key=lambda one: (one[0].get("begun", ""), one[1]))
    return begun, _record(store, name.removesuffix(".json") + ".end.json")


def claimed_runs(store: Store, environment: str) -> set[str]:
    """The runs of ``environment`` whose evidence any promotion, into whichever environment, stands on."""
    names = [name for name in store.names("promotions/") if not name.endswith(".end.json")]
    records = [_record(store, name) for name in names]
    return {record["run"] for record in records if record.get("from") == environment and "run" in record}


def _folder(environment: str) -> str:
    return f"promotions/{environment}/"


def _begun(store: Store, environment: str) -> dict[str, str]:
    names = store.names(_folder(environment))
    return {
        name.rpartition("/")[2].removesuffix(".json"): name
        for name in names
        if name.endswith(".json") and not name.endswith(".end.json")
    }


def _ends(store: Store, environment: str) -> list[str]:
    return [name for name in store.names(_folder(environment)) if name.endswith(".end.json")]


def _told(store: Store, name: str) -> str:
    begun = _record(store, name)
    ended = _record(store, name.removesuffix(".json") + ".end.json")
    how = "it never ended: it was killed"
    if ended:
        how = f"it ended {ended.get('ended', '?')}: {ended.get('outcome', '?')}"
    return f"begun {begun.get('begun', '?')} by {begun.get('by', '?')}; {how}"


def _not_ended(record: Mapping[str, str], now: dt.datetime) -> str:
    """Nobody can see from here whether it runs still; but no run takes longer than a pipeline lets it."""
    begun, by = record.get("begun", "?"), record.get("by", "?")
    try:
        minutes = (now - dt.datetime.fromisoformat(begun)).total_seconds() / 60
    except (ValueError, TypeError):
        minutes = _LONGEST_RUN
    if minutes < _LONGEST_RUN:
        ago = f"{max(0, int(minutes))} minutes ago"
        return f"begun {begun} by {by}, {ago}, and not ended yet: it is running, or was killed"
    return f"begun {begun} by {by}, and never ended: was it killed?"


def _record(store: Store, name: str) -> dict[str, str]:
    """A record of ours; what cannot be read tells nothing, and its being there is what counts."""
    try:
        found = strict_json.loads(store.get(name) or b"{}")
    except Malformed:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
