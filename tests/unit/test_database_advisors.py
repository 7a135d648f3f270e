"""Supabase's advisors beside the checker's own findings."""

from __future__ import annotations

from harness.database.advisors import advice, beyond, without_duplicates
from harness.database.declaration import parse
from harness.database.findings import Found, Severity


def lint(name: str, level: str = "ERROR", table: str = "notes") -> dict[str, object]:
    return {"name": name, "level": level, "detail": "…", "metadata": {"schema": "public", "name": table}}


def test_a_lint_that_nobody_knows_is_a_finding() -> None:
    found, information = advice([lint("new_in_2027", "WARN"), lint("rls_enabled_no_policy", "INFO")])
    assert [(one.rule, one.object, one.severity) for one in found] == [
        ("advisor new_in_2027", "public.notes", Severity.WARNING)
    ]
    assert information == ["public.notes"]


def test_a_level_that_nobody_knows_is_a_finding() -> None:
    assert len(advice([lint("x", "CATASTROPHE")])[0]) == 1


def test_what_is_found_already_is_said_once() -> None:
    found, _ = advice([lint("rls_disabled_in_public"), lint("rls_disabled_in_public", table="other")])
    own = [Found("rls-disabled", "public.notes", "off", "on", "alter …")]
    assert [one.object for one in without_duplicates(found, own)] == ["public.other"]


def test_a_function_is_the_same_with_and_without_its_arguments() -> None:
    found, _ = advice([lint("function_search_path_mutable", "WARN", "leak")])
    own = [Found("definer-search-path", "function public.leak(uuid)", "…", "…", "…")]
    assert without_duplicates(found, own) == []


def test_what_the_declaration_means_is_no_advice() -> None:
    declaration = parse(
        """
        tables:
          public.notes: {rights: owner, rules: [{who: signed-in, may: [select]}]}
          public.other: {rules: [{who: signed-in, may: [select]}]}
        functions:
          public.join(uuid): {callers: [authenticated]}
        """
    )
    callable_ = "authenticated_security_definer_function_executable"
    views = [lint("security_definer_view"), lint("security_definer_view", table="other")]
    functions = [lint(callable_, "WARN", "join"), lint(callable_, "WARN", "leave")]
    found, _ = advice([*views, lint("auth_users_exposed"), *functions])
    left = [(one.rule.removeprefix("advisor "), one.object) for one in beyond(found, declaration)]
    assert left == [
        ("security_definer_view", "public.other"),
        ("auth_users_exposed", "public.notes"),
        (callable_, "public.leave"),
    ]
