"""Storage: buckets are as declared, and nobody reaches another's files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace

from harness.checks.base import Effect, check
from harness.checks.rls import declaration, evidence_of, examined
from harness.checks.storage_http import over_http
from harness.database.check import Options
from harness.database.declaration import Bucket, Declaration
from harness.database.findings import Found
from harness.evidence import Evidence, judge
from harness.providers.database import database_provider
from harness.stack import Stack

__all__ = ["buckets", "objects"]

_CONFIG = "supabase/config.toml [storage.buckets]"


@check("supabase.storage.buckets", component="supabase")
def buckets(stack: Stack) -> Evidence:
    """Every bucket is declared, as private and limited as that; the CLI's configuration agrees."""
    report = examined(stack, Options(dynamic=False))
    found = [one for one in report.found if one.object.startswith("bucket ") or "storage." in one.object]
    found += _configured(stack, declaration(stack))
    names = ", ".join(sorted(declaration(stack).buckets))
    return evidence_of(
        stack, f"{names}: public or private, and limited, as declared", replace(report, found=found)
    )


def _configured(stack: Stack, declared: Declaration) -> Iterator[Found]:
    """Where `supabase start` would make other buckets than the declaration has."""
    text = (database_provider(stack).source / "config.toml").read_text(encoding="utf-8")
    configured = tomllib.loads(text).get("storage", {}).get("buckets", {})
    for name in sorted(configured.keys() | declared.buckets.keys()):
        where, fix = f"bucket {name}", f"-- make {_CONFIG} and supabase/declaration.yaml agree"
        wanted, there = declared.buckets.get(name), configured.get(name)
        if wanted is None or there is None:
            place = "the declaration" if wanted is None else _CONFIG
            yield Found("bucket-configuration", where, f"{place} does not have it", "both have it", fix)
            continue
        size = str(there.get("file_size_limit", ""))
        same_size = (Bucket(size=size).bytes if size else None) == wanted.bytes
        same = (bool(there.get("public", False)), sorted(there.get("allowed_mime_types", ())))
        if not same_size or same != (wanted.public, sorted(wanted.types)):
            yield Found("bucket-configuration", where, f"{_CONFIG} has {there}", "both say the same", fix)


@check("supabase.storage.objects", component="supabase", effect=Effect.PLANTS)
def objects(stack: Stack) -> Evidence:
    """Nobody lists, reads, overwrites, adds, moves or deletes another's files; owners can with theirs.

    In SQL, on planted rows, in a transaction that is rolled back: what the Storage API itself relies on;
    and over HTTP where there is one.
    """
    report = examined(stack, Options())
    found = [
        one for one in report.found if one.table.startswith("bucket ") or "storage.objects" in one.object
    ]
    heard = over_http(stack, declaration(stack))
    summary = f"{report.probes} statements refused or carried out as declared ({heard.how})"
    gaps, notes = [*report.gaps, *heard.gaps], [*report.notes, *heard.notes]
    proven = evidence_of(stack, summary, replace(report, found=found, gaps=gaps, notes=notes))
    if not heard.findings:
        return proven
    return judge(
        proven.summary, [*proven.findings, *heard.findings], http=heard.how, not_proven=list(map(str, gaps))
    )
