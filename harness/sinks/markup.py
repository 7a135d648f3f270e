"""Builds HTML: every value is escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["Markup", "code", "definitions", "element", "join", "table"]


class Markup(str):
    """Text that is HTML already. Only the functions of this module make it."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str | bool) -> Markup:
    """<tag attributes>content</tag>; ``class_`` loses its underscore, False leaves an attribute out."""
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for name, value in attributes.items()
        if value is not False
    )
    return Markup(f"<{tag}{written}>{join(content)}</{tag}>")


def join(content: Iterable[str]) -> Markup:
    """The parts one after the other, escaped where they are not markup."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in content))


def code(text: str) -> Markup:
    """Something to be read letter by letter."""
    return element("code", text)


def definitions(pairs: Iterable[tuple[str, str]], class_: str = "") -> Markup:
    """Names and values; pairs without a value are left out."""
    rows = [element("div", element("dt", name), element("dd", value)) for name, value in pairs if value]
    return element("dl", *rows, class_=class_ or False)


def table(headings: Iterable[str], rows: Iterable[Markup], class_: str = "") -> Markup:
    """A table; ``headings`` that end in > are those of numbers, to the right."""
    cells = [
        element("th", name.rstrip(">"), scope="col", class_="number" if name.endswith(">") else False)
        for name in headings
    ]
    head, body = element("thead", element("tr", *cells)), element("tbody", *rows)
    return element("table", head, body, class_=class_ or False)
