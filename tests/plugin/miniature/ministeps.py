"""The vocabulary of the miniature."""

from __future__ import annotations

import minichecks as checks
from pytest_bdd import given, parsers, then

from harness.asking import Ask, Deploy


@given("the gateway is deployed")
def _(deploy: Deploy) -> None:
    deploy("gateway")


@given("the web app is deployed")
def _(deploy: Deploy) -> None:
    deploy("web")


@then("it holds")
def _(ask: Ask) -> None:
    ask(checks.good)


@then("it is refuted")
def _(ask: Ask) -> None:
    ask(checks.bad)


@then("nothing answers")
def _(ask: Ask) -> None:
    ask(checks.gone)


@then("the check breaks")
def _(ask: Ask) -> None:
    ask(checks.breaks)


@then("the check hangs")
def _(ask: Ask) -> None:
    ask(checks.hangs)


@then("the check is slow")
def _(ask: Ask) -> None:
    ask(checks.slow)


@then("nothing provides it")
def _(ask: Ask) -> None:
    ask(checks.unprovided)


@then("it recovers")
def _(ask: Ask) -> None:
    ask(checks.drill)


@then("it answers True")
def _(ask: Ask) -> None:
    ask(checks.true)


@then(parsers.parse("a request over {tokens:d} tokens is refused"))
def _(ask: Ask, tokens: int) -> None:
    ask(checks.limit, tokens=tokens)


@then(parsers.re(r"the label is (?P<label>.+)"))
def _(ask: Ask, label: str) -> None:
    ask(checks.good)
