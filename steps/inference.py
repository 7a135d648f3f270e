"""The two models: what serves them, what limits them, what they may cost."""

from __future__ import annotations

from pytest_bdd import parsers, then, when

from harness.asking import Ask
from harness.checks import cost, firewall, inference, machines, processes, recovery, serverless

ENDPOINT = r"the (?P<component>instant|thinking)"


@then("the instant host has the declared GPU type and memory")
def _(ask: Ask) -> None:
    ask(machines.gpu)


@then("only the gateway reaches the instant host")
def _(ask: Ask) -> None:
    ask(firewall.instant_reach)


@then(parsers.re(rf"{ENDPOINT} endpoint serves the declared model and context length"))
def _(ask: Ask, component: str) -> None:
    ask(inference.served_model[component])


@then(parsers.re(rf"{ENDPOINT} engine has loaded the declared weights"))
def _(ask: Ask, component: str) -> None:
    ask(processes.weights[component])


@then(parsers.re(rf"{ENDPOINT} model knows that 2\+2 is 4"))
def _(ask: Ask, component: str) -> None:
    ask(inference.golden_answer[component])


@then(parsers.re(rf"{ENDPOINT} endpoint answers a one-token chat in time"))
def _(ask: Ask, component: str) -> None:
    ask(inference.answers[component])


@then(parsers.re(rf"{ENDPOINT} endpoint streams with usage and a proper end"))
def _(ask: Ask, component: str) -> None:
    ask(inference.streams[component])


@then(parsers.re(rf"no request makes {ENDPOINT} engine exceed its token limit"))
def _(ask: Ask, component: str) -> None:
    ask(inference.token_limit[component])


@then(parsers.re(rf"every path of {ENDPOINT} endpoint but its health demands the key"))
def _(ask: Ask, component: str) -> None:
    ask(inference.key_required[component])


@then(parsers.re(rf"{ENDPOINT} key stands in no process argument"))
def _(ask: Ask, component: str) -> None:
    ask(processes.key_hidden[component])


@when("the instant host is rebooted")
@then("the instant host is back in time, with its engine, its private network and its firewall")
def _(ask: Ask) -> None:
    ask(recovery.reboots)


@when("the instant engine is killed")
@then("the instant engine answers again in time, as a new process")
def _(ask: Ask) -> None:
    ask(processes.engine_recovers)


@then("the thinking platform runs with the declared settings")
def _(ask: Ask) -> None:
    ask(serverless.settings)


@then("what is asked through the gateway arrives at the thinking endpoint")
def _(ask: Ask) -> None:
    ask(serverless.reached_through_gateway)


@then("the gateway refuses a larger request to the thinking model than is allowed")
def _(ask: Ask) -> None:
    ask(cost.request_limit)


@then("a thinking job beyond its execution timeout is aborted and not tried again")
def _(ask: Ask) -> None:
    ask(serverless.execution_timeout)


@when("the thinking budget is almost used up")
@then("parallel requests spend no more thinking tokens than are left")
def _(ask: Ask) -> None:
    ask(cost.thinking_budget)


@then("a burst never exceeds the declared thinking workers and concurrency")
def _(ask: Ask) -> None:
    ask(serverless.burst)


@then("the account of the thinking provider has the declared spending limit")
def _(ask: Ask) -> None:
    ask(cost.provider_spending_cap)


@then("the thinking platform scales to zero and starts again within its budget")
def _(ask: Ask) -> None:
    ask(serverless.cold_start)


@when("the thinking worker is killed")
@then("the thinking model answers again in time, from a new worker")
def _(ask: Ask) -> None:
    ask(processes.workers_recover)


@when("the thinking worker hangs")
@then("its job is aborted and another thinking worker takes over")
def _(ask: Ask) -> None:
    ask(serverless.hung_worker)
