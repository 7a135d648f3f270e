"""After a run that did not end well: has it changed anything, and what did it leave behind?"""

from __future__ import annotations

from pathlib import Path

from harness.attestation import strict_json
from harness.attestation.strict_json import Malformed
from harness.errors import HarnessError
from harness.release import Release
from harness.store import Store

__all__ = ["export", "touched"]


def touched(store: Store, environment: str, release: Release) -> tuple[bool, str]:
    """Whether the attempt to promote ``release`` may have changed something that nobody has put right; why.

    Nothing is deployed before a promotion is taken, and that is written down first. So this holds also of a
    run that was cancelled, timed out or killed, which could say nothing more itself.
    """
    prefix = f"promotions/{environment}/"
    begun = [(_read(store, name), name) for name in store.names(prefix) if ".end." not in name]
    if not begun:
        return False, f"no promotion into {environment} was ever begun"
    newest, name = max(begun, key=lambda found: (found[0].get("begun", ""), found[1]))
    if newest.get("release") != release.digest:
        return (
            False,
            f"the newest promotion into {environment} is not of {release.name}: it was never begun",
        )
    ended = _read(store, name.removesuffix(".json") + ".end.json")
    if ended.get("outcome") == "GO":
        return False, f"{release.name} has passed: it ended {ended.get('ended', '?')} with GO"
    how = f"ended with {ended['outcome']}" if ended.get("outcome") else "did not end"
    return True, f"the promotion of {release.name} was begun {newest.get('begun', '?')} and {how}"


def export(store: Store, environment: str, run: str, directory: Path) -> list[Path]:
    """Write the evidence of ``run`` with its report, release and environment file into ``directory``.

    Raises:
        HarnessError: when the store holds nothing of that run.
    """
    written = []
    directory.mkdir(parents=True, exist_ok=True)
    for name in store.names(f"runs/{environment}/{run}."):
        content = store.get(name)
        if content is not None:
            path = directory / name.rpartition("/")[2]
            path.write_bytes(content)
            written.append(path)
    if not written:
        raise HarnessError(f"the store holds nothing of run {run} of {environment}")
    return written


def _read(store: Store, name: str) -> dict[str, str]:
    try:
        found = strict_json.loads(store.get(name) or b"{}")
    except Malformed:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
