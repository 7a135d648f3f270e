"""What Supabase's own advisors say, in the shape of every other finding; what they say anew is no pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.database.declaration import Declaration
from harness.database.findings import Found, Severity

__all__ = ["SAME", "advice", "beyond", "without_duplicates"]

SAME = {
    "rls_disabled_in_public": "rls-disabled",
    "policy_exists_rls_disabled": "rls-disabled",
    "security_definer_view": "view-bypasses-rls",
    "auth_users_exposed": "view-bypasses-rls",
    "materialized_view_in_api": "matview-exposed",
    "foreign_table_in_api": "foreign-table-exposed",
    "function_search_path_mutable": "definer-search-path",
    "rls_references_user_metadata": "trusts-user-metadata",
    "anon_security_definer_function_executable": "definer-exposed",
    "authenticated_security_definer_function_executable": "definer-exposed",
    "public_bucket_allows_listing": "foreign-read",
    "rls_policy_always_true": "foreign-read",
}
"""Advice by its name there, and by the rule that says the same here."""


def advice(lints: Iterable[Mapping[str, Any]]) -> tuple[list[Found], list[str]]:
    """Findings, and what is only information (such as: a table with no policy, which lets nobody in).

    A lint whose level is not INFO is a finding, whatever its name: unknown ones fail closed.
    """
    found: list[Found] = []
    information: list[str] = []
    for lint in lints:
        about = lint.get("metadata") or {}
        place = f"{about.get('schema', '?')}.{about.get('name', '?')}"
        if str(lint.get("level")).upper() == "INFO":
            information.append(place)
            continue
        name = str(lint.get("name"))
        said = f"{lint.get('level')} {name}: {lint.get('detail') or lint.get('title')}"
        severity = Severity.ERROR if str(lint.get("level")).upper() == "ERROR" else Severity.WARNING
        fix = str(lint.get("remediation") or "see the advisor's documentation")
        found.append(
            Found(f"advisor {name}", place, said, "no security advice", fix, table=place, severity=severity)
        )
    return found, information


def without_duplicates(advised: Iterable[Found], found: Iterable[Found]) -> list[Found]:
    """The advice that no finding gives already, about the same object."""
    known = {(one.rule, _plain(one.object)) for one in found}
    return [
        one
        for one in advised
        if (SAME.get(one.rule.removeprefix("advisor "), ""), _plain(one.object)) not in known
    ]


def beyond(advised: Iterable[Found], declaration: Declaration) -> list[Found]:
    """The advice but for what the declaration says is meant: an owner's view, a function with callers."""
    meant = {_plain(title) for title, table in declaration.tables.items() if table.rights == "owner"}
    called = {_plain(f"function {title}") for title in declaration.functions}
    return [one for one in advised if not _meant(one, meant, called)]


def _meant(one: Found, views: set[str], functions: set[str]) -> bool:
    name = one.rule.removeprefix("advisor ")
    if name == "security_definer_view":
        return _plain(one.object) in views
    return SAME.get(name) == "definer-exposed" and _plain(one.object) in functions


def _plain(title: str) -> str:
    """The object's schema.name alone."""
    text = title.removeprefix("function ").partition("(")[0]
    return text.rpartition(" on ")[2].replace('"', "")
