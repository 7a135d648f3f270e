"""Buckets against their declaration, and who may make buckets."""

from __future__ import annotations

from collections.abc import Iterator

from harness.database.catalogue import Bucket as Live
from harness.database.catalogue import Catalogue
from harness.database.declaration import Bucket, Declaration
from harness.database.findings import Found, Severity

__all__ = ["buckets", "policies"]


def buckets(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Every bucket is declared, and as public and as limited as that."""
    if catalogue.buckets is None:
        return
    live = {bucket.id: bucket for bucket in catalogue.buckets}
    for name in sorted(live.keys() - declaration.buckets.keys()):
        public = ", and it is public" if live[name].public else ""
        yield Found(
            "undeclared-bucket",
            f"bucket {name}",
            f"it is not declared{public}",
            "every bucket is declared",
            "-- declare it, or delete it through the Storage API",
        )
    for name, wanted in declaration.buckets.items():
        if name not in live:
            yield Found(
                "declared-absent",
                f"bucket {name}",
                "there is no such bucket",
                "what is declared exists",
                f"insert into storage.buckets (id, name, public) values ('{name}', '{name}', false);",
            )
        else:
            yield from _bucket(name, wanted, live[name])


def _bucket(name: str, wanted: Bucket, live: Live) -> Iterator[Found]:
    if live.public != wanted.public:
        yield Found(
            "bucket-public",
            f"bucket {name}",
            f"public = {live.public}",
            f"public = {wanted.public}",
            _update(name, "public", str(wanted.public).lower()),
            ("anon",) if live.public else (),
            severity=Severity.ERROR if live.public else Severity.WARNING,
        )
    if live.size != wanted.bytes or live.size is None:
        declared = wanted.bytes is not None
        yield Found(
            "bucket-size-limit",
            f"bucket {name}",
            f"file_size_limit = {'no limit' if live.size is None else live.size}",
            f"file_size_limit = {wanted.bytes}" if declared else "a declared file_size_limit",
            _update(name, "file_size_limit", str(wanted.bytes or 10485760)),
            severity=Severity.WARNING,
        )
    if sorted(live.types) != sorted(wanted.types) or not live.types:
        listed = ", ".join(f"'{kind}'" for kind in wanted.types)
        types = f"allowed_mime_types = {', '.join(wanted.types)}"
        yield Found(
            "bucket-mime-types",
            f"bucket {name}",
            f"allowed_mime_types = {', '.join(live.types) or 'no limit'}",
            types if wanted.types else "declared allowed_mime_types",
            _update(name, "allowed_mime_types", f"array[{listed}]"),
            severity=Severity.WARNING,
        )


def _update(name: str, column: str, value: str) -> str:
    return f"update storage.buckets set {column} = {value} where id = '{name}';"


def policies(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Storage's own tables are under row level security, and nobody but the service makes buckets."""
    for title in ("storage.objects", "storage.buckets"):
        relation = catalogue.by_title.get(title)
        if relation is None:
            continue
        if not relation.rls:
            yield Found(
                "rls-disabled",
                title,
                "row level security is off",
                "row level security is on",
                f"alter table {title} enable row level security;",
                tuple(catalogue.api_roles),
                title,
            )
        for policy in catalogue.policies_of(relation) if title == "storage.buckets" else ():
            if policy.permissive and policy.applies and policy.command != "SELECT":
                yield Found(
                    "bucket-policy",
                    f'policy "{policy.name}" on {title}',
                    f"{', '.join(policy.applies)} may {policy.command.lower()} buckets",
                    "only the service role makes and changes buckets",
                    f'drop policy "{policy.name}" on {title};',
                    tuple(policy.applies),
                    title,
                )
