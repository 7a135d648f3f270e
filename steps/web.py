"""The web app: what is compiled in, where sign-ins, requests and errors go, how it is served."""

from __future__ import annotations

from pytest_bdd import then

from harness.asking import Ask
from harness.checks import web, web_config, web_flow


@then("its address serves this release in the declared mode")
def _(ask: Ask) -> None:
    ask(web.serves)


@then("every declared variable has its declared value in what is served")
def _(ask: Ask) -> None:
    ask(web_config.variables)


@then("no secret of the stack is in anything that the web app serves")
def _(ask: Ask) -> None:
    ask(web_config.no_secret_served)


@then("sign-ins come back to its callback page and to nothing else")
def _(ask: Ask) -> None:
    ask(web_config.callback_urls)


@then("a chat request made through the web app arrives at the gateway of this environment")
def _(ask: Ask) -> None:
    ask(web_flow.reaches_gateway)


@then("an answer comes through the web app word by word")
def _(ask: Ask) -> None:
    ask(web_flow.streams)


@then("whoever is not signed in to the web app is refused with a reason")
def _(ask: Ask) -> None:
    ask(web.signed_out)


@then("browsers on the web app may use the Data API, each person for their own rows")
def _(ask: Ask) -> None:
    ask(web.browser_may_call_data_api)


@then("an error in the web app is reported with this release and environment")
def _(ask: Ask) -> None:
    ask(web_flow.errors_reported)


@then("browsers are told to run no script but the web app's own")
def _(ask: Ask) -> None:
    ask(web.hardened)
