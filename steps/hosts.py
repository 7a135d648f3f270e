"""The machines: what may reach them, what runs on them, how they answer to the world."""

from __future__ import annotations

from pytest_bdd import then, when

from harness.asking import Ask
from harness.checks import firewall, journal, machines, recovery, tls


@then("on every machine the firewall holds what the environment allows, also after a reboot")
def _(ask: Ask) -> None:
    ask(firewall.rules)


@then("from every vantage point each machine answers to whom it may and to nobody else")
def _(ask: Ask) -> None:
    ask(firewall.reach)


@then("the GPU and the database answer on the private network alone")
def _(ask: Ask) -> None:
    ask(machines.private_only)


@then("every program starts with its machine and is started again when it ends")
def _(ask: Ask) -> None:
    ask(machines.kept_running)


@then("every machine has the right time and room on its disks")
def _(ask: Ask) -> None:
    ask(machines.fit)


@then("every container logs JSON to its machine's journal, each request with its id")
def _(ask: Ask) -> None:
    ask(journal.containers_logged)


@then("no journal of any machine holds a secret of this environment")
def _(ask: Ask) -> None:
    ask(journal.journals_private)


@then("its certificate is trusted, for this host, and valid for long enough")
def _(ask: Ask) -> None:
    ask(tls.certificate)


@then("older protocols than the declared one are refused")
def _(ask: Ask) -> None:
    ask(tls.protocols)


@then("plain http leads to https and nowhere else")
def _(ask: Ask) -> None:
    ask(tls.https_only)


@then("there is no way round the load balancer")
def _(ask: Ask) -> None:
    ask(tls.no_way_round)


@when("every program on every machine is killed")
@then("each of them serves again within its time, as a new process")
def _(ask: Ask) -> None:
    ask(recovery.programs_recover)
