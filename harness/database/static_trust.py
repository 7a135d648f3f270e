"""What policies and views rest on: the verified token and tables, not what a caller can set."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.database.catalogue import Catalogue
from harness.database.declaration import Declaration
from harness.database.findings import Found, Severity

__all__ = ["policies", "views"]

_SETTING = re.compile(r"current_setting\(\s*'([^']+)'")
_REQUEST = (
    "request.headers",
    "request.cookies",
    "request.header.",
    "request.cookie.",
    "request.path",
    "request.method",
)


def policies(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Policies rest on nothing that a caller can set."""
    for policy in catalogue.policies:
        relation = catalogue.by_oid.get(policy.relation)
        if relation is None or not policy.applies or relation.schema == "auth":
            continue
        own = f"{policy.using or ''} {policy.check or ''}"
        called = catalogue.called(policy.functions)
        places = [(f'policy "{policy.name}" on {relation.title}', own)]
        places += [(f"function {f.title}", f.body) for f in called]
        for culprit, text in places:
            if re.search(r"user_metadata|raw_user_meta_data", text):
                yield Found(
                    "trusts-user-metadata",
                    culprit,
                    "it trusts user_metadata, which every user can set",
                    "policies rest on nothing that users can set",
                    "-- use app_metadata, or a table",
                    tuple(policy.applies),
                    relation.title,
                )
            for name in dict.fromkeys(_SETTING.findall(text)):
                if _settable(name, declaration):
                    yield Found(
                        "trusts-setting",
                        culprit,
                        f"it trusts the setting {name}, which its caller can make",
                        "policies rest on the verified token",
                        f"-- use auth.uid(); or declare {name} under trusted_settings",
                        tuple(policy.applies),
                        relation.title,
                        severity=Severity.ERROR,
                    )


def views(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Views that callers may read filter by nothing that a caller can set."""
    for relation in catalogue.relations:
        text = relation.definition or ""
        roles = tuple(role for role in catalogue.api_roles if relation.allows(role, "SELECT"))
        if relation.kind != "v" or not roles or relation.title not in declaration.tables:
            continue
        said = [(r"user_metadata|raw_user_meta_data", "trusts-user-metadata", "user_metadata")]
        named = [n for n in dict.fromkeys(_SETTING.findall(text)) if _settable(n, declaration)]
        for rule, what in (
            *((rule, what) for shape, rule, what in said if re.search(shape, text)),
            *(("trusts-setting", f"the setting {name}") for name in named),
        ):
            yield Found(
                rule,
                relation.title,
                f"it trusts {what}, which its caller can make",
                "views rest on the verified token",
                "-- use auth.uid(); or declare the setting under trusted_settings",
                roles,
                relation.title,
            )


def _settable(name: str, declaration: Declaration) -> bool:
    if name.startswith(_REQUEST):
        return name not in declaration.trusted_settings
    if (
        name.startswith("request.jwt")
        or name in declaration.settings
        or name in ("role", "server_version_num")
    ):
        return False
    return name not in declaration.trusted_settings and "." in name
