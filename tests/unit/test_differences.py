"""Two schemas, object by object."""

from __future__ import annotations

import pytest

from harness.checks.differences import changed_lines, differing_objects


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("column public.t.c integer null=t", "column public.t.c"),
        ('column public."Größe; drop"."x""y" text null=t', 'column public."Größe; drop"."x""y"'),
        ("relation r public.t owner=postgres rls=t/f", "relation r public.t"),
        ('policy public.t."owners read" r t {authenticated}', 'policy public.t."owners read"'),
        ("function usage.renew(uuid[],integer) owner=postgres", "function usage.renew(uuid[],integer)"),
        ("function f() owner=postgres", "function f()"),
        ("bucket attachments public=f 10485760", "bucket attachments"),
        ("trigger public.t.touch CREATE TRIGGER touch", "trigger public.t.touch"),
    ],
)
def test_an_object_is_called_by_its_kind_and_name(line: str, title: str) -> None:
    (lost,) = differing_objects([line], [])
    assert (lost.title, lost.before, lost.after) == (title, line, "")


def test_a_changed_object_is_one_difference() -> None:
    (changed,) = differing_objects(["column a.b int", "same"], ["column a.b text", "same"])
    assert (changed.title, changed.before, changed.after) == (
        "column a.b",
        "column a.b int",
        "column a.b text",
    )


def test_many_differences_are_cut_to_what_can_be_read() -> None:
    assert len(differing_objects([f"column public.t.c{i} int" for i in range(500)], [])) == 20
    (long,) = differing_objects(["function f() " + "x" * 5000], [])
    assert len(long.before) == 200


def test_equal_schemas_differ_in_nothing() -> None:
    assert differing_objects(["a b", "c d"], ["c d", "a b"]) == []
    assert changed_lines(["a", "b"], ["a", "b"]) == []
    assert changed_lines(["a", "b"], ["a", "c"]) == ["-b", "+c"]
