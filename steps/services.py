"""Steps about the gateway, and about all components at once."""

from __future__ import annotations

from pytest_bdd import parsers, then

from harness.asking import Ask
from harness.checks import declared, gateway, image, limits, logs, rollout, settings


@then("its image carries this release, the declared user and size, and a health check")
def _(ask: Ask) -> None:
    ask(image.described)


@then("its image starts with this environment's settings and answers")
def _(ask: Ask) -> None:
    ask(image.starts)


@then("every gateway runs this release's image, to the digest")
def _(ask: Ask) -> None:
    ask(rollout.digests)


@then("every gateway is an unprivileged user in a read-only container without capabilities")
def _(ask: Ask) -> None:
    ask(image.confined)


@then(
    parsers.parse(
        "at {rate:g} requests a second all gateways go to another image and back, "
        "each within {seconds:g} seconds, unnoticed"
    )
)
def _(ask: Ask, rate: float, seconds: float) -> None:
    ask(rollout.unnoticed, per_second=rate, seconds=seconds)


@then(
    parsers.parse(
        "at {rate:g} requests a second an image that does not start is taken back by itself "
        "within {seconds:g} seconds"
    )
)
def _(ask: Ask, rate: float, seconds: float) -> None:
    ask(rollout.bad_image, per_second=rate, seconds=seconds)


@then("a second deploy at the same time is refused, naming who deploys and since when")
def _(ask: Ask) -> None:
    ask(rollout.locked_out)


@then("no layer, variable or history line of its image holds a secret of this environment or any other")
def _(ask: Ask) -> None:
    ask(image.secret_free)


@then("its live settings are the declared ones, without development defaults")
def _(ask: Ask) -> None:
    ask(settings.settings_live)


@then("as production it refuses every development default by name")
def _(ask: Ask) -> None:
    ask(settings.defaults_refused)


@then("the gateway's own validation accepts the settings of every environment file")
def _(ask: Ask) -> None:
    ask(declared.every_environment)


@then("it is alive")
def _(ask: Ask) -> None:
    ask(gateway.live)


@then("it is ready and names every dependency with its latency")
def _(ask: Ask) -> None:
    ask(gateway.ready)


@then("every answer names this environment and this release")
def _(ask: Ask) -> None:
    ask(gateway.identity)


@then(
    parsers.parse(
        "within {seconds:g} seconds of {program} stopping, "
        "readiness names the {dependency} alone, and heals"
    )
)
def _(ask: Ask, seconds: float, program: str, dependency: str) -> None:
    ask(gateway.notices, program=program, dependency=dependency, seconds=seconds)


@then("every log line is JSON and carries the id of the request it is about")
def _(ask: Ask) -> None:
    ask(logs.logs_structured)


@then("neither its log nor its metrics hold a token, a key, a prompt or an answer")
def _(ask: Ask) -> None:
    ask(logs.logs_private)


@then("metrics are given to the metrics token alone")
def _(ask: Ask) -> None:
    ask(logs.metrics_private)


@then("it refuses every token that this environment did not issue for now")
def _(ask: Ask) -> None:
    ask(limits.strangers_refused)


@then("it refuses a request beyond the declared tokens")
def _(ask: Ask) -> None:
    ask(limits.request_limit)


@then("it refuses a user beyond the declared tokens of a day")
def _(ask: Ask) -> None:
    ask(limits.daily_limit)


@then("it refuses a user beyond the declared requests in flight")
def _(ask: Ask) -> None:
    ask(limits.concurrency_limit)
