"""The database as something to operate: does its monitoring answer, and what does it say?"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from harness.checks.base import check
from harness.evidence import Evidence, Finding, judge
from harness.providers.database import Monitor, database_provider
from harness.stack import Stack

__all__ = ["monitored"]

_METRICS = """
select current_setting('max_connections')::int as connections_limit,
       (select count(*) from pg_stat_activity where backend_type = 'client backend')::int as connections,
       pg_database_size(current_database()) as size_bytes,
       (select count(*) from pg_locks where not granted)::int as waiting_locks,
       coalesce((select extract(epoch from max(now() - xact_start)) from pg_stat_activity
                 where backend_type = 'client backend' and pid <> pg_backend_pid()), 0)::float8
           as longest_transaction_seconds,
       (select count(*) from pg_replication_slots where not active)::int as idle_replication_slots,
       (select count(*) from pg_stat_replication)::int as replicas,
       (select age(datfrozenxid) from pg_database where datname = current_database()) as transaction_id_age,
       (select coalesce(sum(checksum_failures), 0) from pg_stat_database)::int as checksum_failures,
       (select deadlocks from pg_stat_database where datname = current_database())::int as deadlocks
"""
_SETTINGS = {"track_activities": "on", "track_counts": "on"}
_LONGEST_TRANSACTION_SECONDS = 300
_OLDEST_TRANSACTION_ID = 1_000_000_000
_MOST_CONNECTIONS = 0.8


@check("supabase.monitoring", component="supabase")
def monitored(stack: Stack) -> Evidence:
    """Every part's health answers, statistics are kept, and no metric is out of bounds."""
    monitors = database_provider(stack).monitors()
    findings = [finding for monitor in monitors if (finding := _unhealthy(monitor)) is not None]
    with psycopg.connect(stack.database_dsn, row_factory=dict_row) as connection:
        metrics = connection.execute(_METRICS.encode()).fetchone() or {}
        settings = connection.execute(
            "select name, setting, source from pg_settings where name = any (%s)", [list(_SETTINGS)]
        ).fetchall()
        statements = connection.execute(
            "select count(*) as n from pg_extension where extname = 'pg_stat_statements'"
        ).fetchone()
    findings += [_setting(row) for row in settings if row["setting"] != _SETTINGS[row["name"]]]
    if not statements or not statements["n"]:
        remedy = "create extension pg_stat_statements with schema extensions;"
        where = "extension pg_stat_statements"
        findings.append(Finding("installed: it says which statements cost", "not installed", where, remedy))
    findings += _out_of_bounds(metrics)
    summary = (
        f"{len(monitors)} parts are healthy; {metrics['connections']} of"
        f" {metrics['connections_limit']} connections, {metrics['size_bytes'] / 2**20:.1f} MiB,"
        f" longest transaction {metrics['longest_transaction_seconds']:.1f} s,"
        f" {metrics['waiting_locks']} waiting locks"
    )
    return judge(summary, findings, **metrics)


def _unhealthy(monitor: Monitor) -> Finding | None:
    trouble = monitor.trouble()
    if not trouble:
        return None
    remedy = "read the log of that part, and start it again"
    return Finding(f"healthy: {monitor.name}", trouble, monitor.where, remedy)


def _setting(row: dict[str, Any]) -> Finding:
    name = row["name"]
    remedy = f"alter database postgres reset {name}; (it comes from: {row['source']})"
    return Finding(
        f"{name} = {_SETTINGS[name]}", f"{name} = {row['setting']}", f"PostgreSQL setting {name}", remedy
    )


def _out_of_bounds(metrics: dict[str, Any]) -> list[Finding]:
    bounds = (
        (
            "connections",
            int(metrics["connections_limit"] * _MOST_CONNECTIONS),
            "find who holds them: select usename, state, count(*) from pg_stat_activity group by 1, 2;",
        ),
        (
            "longest_transaction_seconds",
            _LONGEST_TRANSACTION_SECONDS,
            "find it: select pid, usename, state, query from pg_stat_activity order by xact_start limit 1;",
        ),
        (
            "idle_replication_slots",
            0,
            "drop the slot, or bring its reader back: it keeps WAL until the disk is full",
        ),
        ("transaction_id_age", _OLDEST_TRANSACTION_ID, "vacuum freeze; find what holds autovacuum back"),
        ("checksum_failures", 0, "restore from a backup: the disk returned damaged pages"),
    )
    return [
        Finding(f"at most {most}", str(metrics[name]), f"metric {name}", remedy)
        for name, most, remedy in bounds
        if metrics[name] > most
    ]
