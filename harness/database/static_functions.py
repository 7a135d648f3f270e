"""Functions: who may call them, with whose rights, and what they lean on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.database.catalogue import Catalogue, Function
from harness.database.declaration import Declaration
from harness.database.dynamic_sql import runs_text
from harness.database.findings import Found, Severity

__all__ = ["dynamic_sql", "exposed", "identity", "leakproof", "reach_out", "search_path", "signup"]

MANAGED = (
    "auth",
    "storage",
    "extensions",
    "graphql",
    "graphql_public",
    "realtime",
    "vault",
    "pgsodium",
    "net",
    "cron",
    "supabase_functions",
    "supabase_migrations",
    "pgbouncer",
    "_realtime",
    "pgmq",
    "repack",
    "topology",
    "tiger",
)
_REACHES_OUT = re.compile(
    r"\b(net\.http_\w+|http_(get|post|put|patch|delete|head)|http\s*\(|dblink\w*|pg_read_(binary_)?file|"
    r"pg_ls_dir|lo_(import|export)|copy\s+.*\bprogram\b)",
    re.I,
)
_SETS_IDENTITY = re.compile(
    r"set_config\(\s*'(role|request\.[\w.]+|session_authorization)'"
    r"|(^|;|\b(begin|then|loop|else))\s*set\s+(local\s+|session\s+)?(role|session\s+authorization)\b",
    re.I,
)
_POWER = (
    r"\w*(?:role|admin|staff|superuser|tenant|permission|privilege|access|credit|balance|verified|approved)\w*"
    r"|(?:is_|default_)?(?:org|organi[sz]ation|team|group|plan|tier|level|account_type|user_type)(?:_id)?"
)


def own_functions(catalogue: Catalogue) -> list[Function]:
    """The functions that are neither an extension's nor Supabase's."""
    return [f for f in catalogue.functions if f.schema not in MANAGED and not f.extension]


def _callable(function: Function, declaration: Declaration) -> bool:
    """Whether callers reach it through the Data API."""
    return (
        function.schema in declaration.schemas
        and bool(function.executors)
        and function.returns not in ("trigger", "event_trigger")
    )


def _revoked(function: Function) -> str:
    return f"revoke execute on function {function.title} from public, {', '.join(function.executors)};"


def exposed(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Functions that callers may call are declared, for exactly those callers."""
    for function in own_functions(catalogue):
        if not _callable(function, declaration):
            continue
        declared = declaration.functions.get(function.title)
        if declared is None:
            yield _undeclared(function)
            continue
        yield from _excess(function, declared.callers)
        yield from _lacking(catalogue, function, declared.callers)


def _undeclared(function: Function) -> Found:
    who, where = ", ".join(function.executors), f"function {function.title}"
    fix = f"revoke execute on function {function.title} from public, {who};"
    if function.definer:
        return Found(
            "definer-exposed",
            where,
            f"security definer, and {who} may call it",
            "nobody calls what runs with its owner's rights, unless it is declared",
            fix,
            tuple(function.executors),
        )
    return Found(
        "undeclared-function",
        where,
        f"{who} may call it through the Data API",
        "every exposed function is declared",
        fix,
        tuple(function.executors),
        severity=Severity.WARNING,
    )


def _excess(function: Function, callers: Sequence[str]) -> Iterator[Found]:
    excess = [role for role in function.executors if role not in callers]
    if excess:
        granted = ", ".join(callers)
        again = f" grant execute on function {function.title} to {granted};" if granted else ""
        yield Found(
            "excess-execute",
            f"function {function.title}",
            f"{', '.join(excess)} may call it",
            f"only {granted or 'nobody'} may call it",
            f"revoke execute on function {function.title} from public, {', '.join(excess)};{again}",
            tuple(excess),
        )


def _lacking(catalogue: Catalogue, function: Function, callers: Sequence[str]) -> Iterator[Found]:
    lacking = [role for role in callers if role not in function.executors and role in catalogue.api_roles]
    if lacking:
        yield Found(
            "missing-access",
            f"function {function.title}",
            f"{', '.join(lacking)} may not call it",
            "declared callers may call it",
            f"grant execute on function {function.title} to {', '.join(lacking)};",
            tuple(lacking),
        )


def search_path(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Functions with their owner's rights look names up where nobody else can put any."""
    for function in own_functions(catalogue):
        if not function.definer or function.returns == "event_trigger":
            continue
        path = next((s.partition("=")[2] for s in function.settings if s.startswith("search_path=")), None)
        where, fix = f"function {function.title}", f"alter function {function.title} set search_path = '';"
        roles = tuple(function.executors)
        expected = "security definer functions have a fixed search_path"
        if path is None:
            yield Found(
                "definer-search-path",
                where,
                "security definer with its caller's search_path",
                expected,
                fix,
                roles,
                severity=Severity.WARNING,
            )
            continue
        for name in (part.strip().strip('"') for part in path.split(",")):
            creators = catalogue.schemas.get(name, {}).get("create", [])
            if name == "$user" or creators:
                what = f'its search_path holds "{name}"' + (
                    f", where {', '.join(creators)} may create objects" if creators else ""
                )
                yield Found(
                    "definer-search-path", where, what, expected, fix, roles, severity=Severity.WARNING
                )
                break


def leakproof(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """No function of one's own claims to leak nothing: the planner may run it before the policies."""
    for function in own_functions(catalogue):
        if function.leakproof:
            yield Found(
                "function-leakproof",
                f"function {function.title}",
                "leakproof: it may see rows before the policies do",
                "no function of one's own is leakproof",
                f"alter function {function.title} not leakproof;",
                tuple(function.executors),
            )


def reach_out(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Callers cannot make the server ask other machines, or read its files."""
    for function in catalogue.functions:
        if not function.executors or function.schema in ("auth", "storage"):
            continue
        named = (
            function.extension
            and _REACHES_OUT.search(f"{function.name}(")
            and function.schema in declaration.schemas
        )
        called = (
            not function.extension
            and _callable(function, declaration)
            and _REACHES_OUT.search(function.body)
        )
        declared = declaration.functions.get(function.title)
        if named or (called and (declared is None or set(function.executors) - set(declared.callers))):
            yield Found(
                "reaches-out",
                f"function {function.title}",
                f"{', '.join(function.executors)} can make the server reach out with it",
                "callers cannot make the server reach out",
                _revoked(function),
                tuple(function.executors),
            )


def identity(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """No function that callers may call changes who they are."""
    rested = {
        name
        for p in catalogue.policies
        for name in re.findall(r"current_setting\(\s*'([^']+)'", f"{p.using} {p.check}")
    }
    for function in own_functions(catalogue):
        if not _callable(function, declaration):
            continue
        setting = next((n for n in rested if f"set_config('{n}'" in re.sub(r"\s", "", function.body)), None)
        if (
            _SETS_IDENTITY.search(function.body)
            or setting
            or re.search(r"set_config\(\s*[a-z_]\w*\s*,", function.body)
        ):
            yield Found(
                "changes-identity",
                f"function {function.title}",
                "it changes the caller's role, token or a setting that policies rest on",
                "who a caller is comes from the token alone",
                _revoked(function),
                tuple(function.executors),
            )


def dynamic_sql(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """No caller's text becomes SQL that runs with the owner's rights."""
    for function in own_functions(catalogue):
        if not function.definer or not _callable(function, declaration) or function.language != "plpgsql":
            continue
        if runs_text(function.body, [i["name"] for i in function.inputs]):
            yield Found(
                "definer-dynamic-sql",
                f"function {function.title}",
                "it runs SQL that its caller's text becomes part of",
                "definer functions quote what becomes SQL",
                "-- use format() with %I and %L, or EXECUTE … USING",
                tuple(function.executors),
            )


def signup(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """What a user writes about themselves at sign-up gives them no rights."""
    for trigger in catalogue.triggers:
        function = catalogue.function_by_oid.get(trigger["function"])
        if function is None or trigger["enabled"] == "D" or function.schema in MANAGED:
            continue
        said = r"(?:raw_user_meta_data|user_metadata)"
        found = re.search(rf"{said}'?\)?\s*->>?\s*'({_POWER})'", function.body, re.I)
        whole = re.search(rf"jsonb?_populate_record(?:set)?\s*\([^;]*{said}", function.body, re.I)
        if found or whole:
            relation = catalogue.by_oid.get(trigger["relation"])
            yield Found(
                "trusts-user-metadata",
                f"function {function.title}",
                f"it takes {found[1] if found else 'whole rows'} from what users write about themselves",
                "nothing that users can set gives rights",
                "-- take it from raw_app_meta_data, or a constant",
                table=relation.title if relation else "",
            )
