"""What backups there are of the environment's database, from whoever makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.errors import NoProvider
from harness.providers.supabase_management import Backup, Backups, ManagementError, management_api
from harness.stack import Stack

__all__ = ["BackupState", "backup_state"]


@dataclass(frozen=True)
class BackupState:
    """``newest`` is the newest that can be restored, by its ``kind``; ``where`` says what was read."""

    pitr: bool
    newest: datetime | None
    kind: str
    where: str
    earliest: datetime | None = None
    """With PITR: how far back one can go."""
    failed: tuple[str, ...] = ()
    """What went wrong after the newest good one, in words."""


def _from_project(stack: Stack) -> BackupState:
    api = management_api(stack)
    answer, where = api.backups(), api.where("database/backups")
    if answer.pitr_enabled:
        physical = answer.physical_backup_data
        return BackupState(
            True,
            _at(physical.latest_physical_backup_date_unix),
            "the latest physical backup, from which point-in-time recovery starts",
            where,
            _at(physical.earliest_physical_backup_date_unix),
        )
    return _daily(answer, where)


def _daily(answer: Backups, where: str) -> BackupState:
    dated = sorted(((_time(backup, where), backup) for backup in answer.backups), key=lambda pair: pair[0])
    good = [when for when, backup in dated if backup.status == "COMPLETED"]
    newest = max(good, default=None)
    failed = [
        f"{backup.status} at {when:%Y-%m-%d %H:%M} UTC"
        for when, backup in dated
        if backup.status not in ("COMPLETED", "PENDING") and (newest is None or when > newest)
    ]
    return BackupState(False, newest, "the newest completed daily backup", where, failed=tuple(failed))


def _time(backup: Backup, where: str) -> datetime:
    try:
        when = datetime.fromisoformat(backup.inserted_at)
    except ValueError:
        what = f"{where}: inserted_at {backup.inserted_at[:40]!r} is no time"
        raise ManagementError(f"{what}: not what this API answers") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _at(unix: int | None) -> datetime | None:
    return datetime.fromtimestamp(unix, UTC) if unix else None


def _from_here(_: Stack) -> BackupState:
    raise NoProvider("nothing makes backups of a local database by itself: the check makes one")


_READERS: dict[str, Callable[[Stack], BackupState]] = {"local": _from_here, "cloud": _from_project}


def backup_state(stack: Stack) -> BackupState:
    """The state of the backups.

    Raises:
        NoProvider: where nothing makes any by itself.
        ManagementError: when the project refuses to say.
        httpx.TransportError: when it does not answer.
    """
    return _READERS[stack.environment.supabase.provider](stack)
