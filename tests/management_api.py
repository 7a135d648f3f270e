"""A hosted project for tests: a stack of staging whose Management API is a double.

The double answers what a test tells it to, over a transport of httpx; nothing leaves this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from harness.environment.loader import load
from harness.environment.supabase import CloudSupabase
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.pg_fixture import ROOT

TOKEN = "sbp_a-token-that-nobody-may-see-0123456789"
Answering = Callable[[httpx.Request], httpx.Response]


def hosted_stack(answering: Answering, state: Path, monkeypatch: Any, **changes: Any) -> Stack:
    """environments/staging.yaml with ``changes`` to its Supabase; ``answering`` is the Management API."""
    monkeypatch.setenv("STAGING_SUPABASE_ACCESS_TOKEN", TOKEN)
    environment = load("staging", ROOT).environment
    settings = environment.supabase.model_copy(update=changes)
    assert isinstance(settings, CloudSupabase)
    environment = environment.model_copy(update={"supabase": settings})
    stack = Stack(ROOT, state, environment, SecretStore(ROOT, state))
    transport = httpx.MockTransport(answering)
    stack._clients[settings.management_url] = httpx.Client(
        base_url=settings.management_url, transport=transport
    )
    return stack


def answer(body: Any, status: int = 200, **headers: str) -> Answering:
    """An API that always answers ``body``."""
    return lambda request: httpx.Response(status, json=body, headers=headers)


def _hours_ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def backup(hours: float, status: str = "COMPLETED") -> dict[str, Any]:
    """A daily backup, made so many hours ago."""
    return {"id": 1, "is_physical_backup": False, "status": status, "inserted_at": _hours_ago(hours)}


def daily(*backups: dict[str, Any]) -> dict[str, Any]:
    """What a project without point-in-time recovery answers."""
    return {
        "region": "eu-central-1",
        "walg_enabled": True,
        "pitr_enabled": False,
        "backups": list(backups),
        "physical_backup_data": {},
    }


def continuous(hours: float | None) -> dict[str, Any]:
    """What a project with it answers: its latest physical backup is so many hours old."""
    physical = {}
    if hours is not None:
        latest = int(time.time() - hours * 3600)
        physical = {
            "latest_physical_backup_date_unix": latest,
            "earliest_physical_backup_date_unix": latest - 7 * 86400,
        }
    return {**daily(), "pitr_enabled": True, "physical_backup_data": physical}


def project(status: str = "ACTIVE_HEALTHY", engine: str = "17") -> dict[str, Any]:
    """The project itself."""
    return {
        "id": "hostedchatprojectxyz",
        "ref": "hostedchatprojectxyz",
        "organization_id": "an-organisation",
        "organization_slug": "an-organisation",
        "name": "chat",
        "region": "eu-central-1",
        "status": status,
        "database": {
            "host": "db.hosted.test",
            "version": f"{engine}.6.1.111",
            "postgres_engine": engine,
            "release_channel": "ga",
        },
        "created_at": "2026-01-01T00:00:00Z",
    }


def healthy(**others: str) -> list[dict[str, Any]]:
    """How its parts are; ``others`` by name."""
    parts = dict.fromkeys(("db", "pooler", "rest", "auth", "storage"), "ACTIVE_HEALTHY") | others
    return [
        {"name": name, "healthy": status == "ACTIVE_HEALTHY", "status": status}
        for name, status in parts.items()
    ]


def encrypted(enforced: bool = True, applied: bool = True) -> dict[str, Any]:
    """Whether connections without TLS are refused."""
    return {"currentConfig": {"database": enforced}, "appliedSuccessfully": applied}


def networks(*ranges: str, status: str = "applied", entitlement: str = "allowed") -> dict[str, Any]:
    """From where the database may be reached."""
    return {
        "entitlement": entitlement,
        "config": {
            "dbAllowedCidrs": [one for one in ranges if ":" not in one],
            "dbAllowedCidrsV6": [one for one in ranges if ":" in one],
        },
        "status": status,
    }


def exposing(schemas: str = "public", rows: int = 1000) -> dict[str, Any]:
    """What the Data API exposes. The real answer holds the JWT secret as well."""
    return {
        "db_schema": schemas,
        "max_rows": rows,
        "db_extra_search_path": "public, extensions",
        "db_pool": None,
        "jwt_secret": "the-jwt-secret-that-nobody-may-see-0123456789",
    }
