"""After a run that did not end well: has it changed anything, and what did it leave behind?"""

from __future__ import annotations

from pathlib import Path

from harness import claims
from harness.errors import HarnessError
from harness.release import Release
from harness.store import Store

__all__ = ["export", "touched"]


def touched(store: Store, environment: str, release: Release) -> tuple[bool, str]:
    """Whether the attempt to promote ``release`` may have changed something that nobody has put right; why.

    Nothing is deployed before a promotion is taken, and that is written down first. So this holds also of a
    run that was cancelled, timed out or killed, which could say nothing more itself.
    """
    begun, ended = claims.newest(store, environment)
    if not begun:
        return False, f"no promotion into {environment} was ever begun"
    if begun.get("release") != release.digest:
        what = f"the newest promotion into {environment} is not of {release.name}"
        return False, f"{what}: that one was never begun, or something has come after it"
    outcome = ended.get("outcome", "")
    if outcome == "GO" or outcome.startswith(claims.UNTOUCHED):
        return False, f"the promotion of {release.name} ended {ended.get('ended', '?')}: {outcome}"
    how = f"ended with {outcome}" if outcome else "did not end"
    return True, f"the promotion of {release.name} was begun {begun.get('begun', '?')} and {how}"


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
