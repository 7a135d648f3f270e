"""Is there a backup as fresh as the environment promises, and can one go back to any moment?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harness.checks.base import check
from harness.environment.supabase import CloudSupabase
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.providers.backup import LEAVES_OUT
from harness.providers.backup_state import BackupState, backup_state
from harness.stack import Stack

__all__ = ["fresh"]

_CLOCKS_DIFFER = timedelta(minutes=5)


@check("supabase.backup.fresh", component="supabase")
def fresh(stack: Stack) -> Evidence:
    """The newest backup is no older than promised, and point-in-time recovery is on where it must be."""
    settings = stack.environment.supabase
    if not isinstance(settings, CloudSupabase):
        raise NoProvider("nothing makes backups of a local database by itself: the check makes one")
    state, now = backup_state(stack), datetime.now(UTC)
    findings = [*_recovery(state, settings), *_age(state, settings, now)]
    findings += [_failed(what, state) for what in state.failed]
    summary = f"{state.kind} is {_hours(state, now)} old; in no backup: {'; '.join(LEAVES_OUT)}"
    return judge(
        summary,
        findings,
        pitr=state.pitr,
        newest=str(state.newest),
        back_to=str(state.earliest),
        leaves_out=LEAVES_OUT,
    )


def _recovery(state: BackupState, settings: CloudSupabase) -> list[Finding]:
    if state.pitr or not settings.pitr:
        return []
    remedy = "switch the add-on on for the project, or say pitr: false in the environment file"
    return [Finding("point-in-time recovery is on", "it is off", state.where, remedy)]


def _age(state: BackupState, settings: CloudSupabase, now: datetime) -> list[Finding]:
    promised = f"a backup that is at most {settings.backup_max_age_hours} h old"
    remedy = "find out in the project's dashboard why no backup was made; make one by hand now"
    if state.newest is None:
        return [Finding(promised, f"{state.kind}: there is none", state.where, remedy)]
    age = now - state.newest
    if age > timedelta(hours=settings.backup_max_age_hours):
        observed = f"{state.kind} is {_hours(state, now)} old ({state.newest:%Y-%m-%d %H:%M} UTC)"
        return [Finding(promised, observed, state.where, remedy)]
    if -age > _CLOCKS_DIFFER:
        observed = f"{state.kind} is dated {state.newest:%Y-%m-%d %H:%M} UTC, which is still to come"
        return [Finding(promised, observed, state.where, "set the clock of this machine")]
    return []


def _failed(what: str, state: BackupState) -> Finding:
    remedy = "ask Supabase's support why; make a backup by hand now"
    return Finding("every backup completes", f"the last one did not: {what}", state.where, remedy)


def _hours(state: BackupState, now: datetime) -> str:
    return f"{(now - state.newest).total_seconds() / 3600:.1f} h" if state.newest else "never"
