"""The pytest plug-in: options, hooks and the two fixtures. It only delegates."""

from __future__ import annotations

import gc
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import ConfigurationError, HarnessError
from harness.visible import visible

if TYPE_CHECKING:
    from harness.asking import Ask, Deploy
    from harness.environment import Environment
    from harness.run import Run
    from harness.stack import Stack

_RUN: pytest.StashKey[Run] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """--env, --verify-only, --plan."""
    group = parser.getgroup("deployment checklists")
    group.addoption("--env", metavar="NAME", help="environment to deploy and prove")
    group.addoption("--verify-only", action="store_true", help="change nothing: compare and ask only")
    group.addoption(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="override a setting: web.port=3100"
    )
    group.addoption("--release", metavar="FILE", type=Path, help="the release to deploy: a release.json")
    group.addoption(
        "--evidence", metavar="FILE", type=Path, help="the predecessor's evidence, if not in the store"
    )
    group.addoption(
        "--approval", metavar="FILE", type=Path, action="append", default=[], help="an approval, likewise"
    )
    group.addoption(
        "--rollback", action="store_true", help="bring back a release that has passed here before"
    )
    group.addoption("--plan", action="store_true", help="print what a deploy would change; change nothing")


class HookSpecs:
    """What a project may put in the place of the harness's own."""

    @pytest.hookspec(firstresult=True)
    def pytest_harness_stack(self, environment: Environment, root: Path) -> Stack:
        """The stack of ``environment``; a project with providers of its own returns one with them."""
        raise NotImplementedError


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Tell pytest about them."""
    pluginmanager.add_hookspecs(HookSpecs)


@pytest.hookimpl(trylast=True)
def pytest_harness_stack(environment: Environment, root: Path) -> Stack:
    """The stack with the providers of the registry."""
    from harness.providers.registry import build_stack  # noqa: PLC0415 - see pytest_configure

    return build_stack(environment, root)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the environment, before anything else can happen."""
    if not config.option.env:
        if config.option.verify_only or config.option.plan:
            raise pytest.UsageError("--verify-only and --plan need an environment: --env local")
        return
    if (plugin := config.pluginmanager.get_plugin("hypothesispytest")) is not None:
        config.pluginmanager.unregister(plugin)  # it would load all of Hypothesis to print nothing
    from harness.run import Run  # noqa: PLC0415 - only a checklist run loads providers and checks

    try:
        config.stash[_RUN] = Run(config)
    except HarnessError as error:
        raise _usage_error(error) from None
    gc.freeze()  # all that is loaded by now stays: the collector need not look at it again and again


def _usage_error(error: HarnessError) -> pytest.UsageError:
    """What pytest prints and ends with; it may repeat what evidence says."""
    return pytest.UsageError(visible(str(error)))


def pytest_bdd_apply_tag(tag: str, function: object) -> bool | None:
    """Tags with a value, such as @item:GW-3, become markers with an argument."""
    name, separator, value = tag.partition(":")
    if separator:
        getattr(pytest.mark, name)(value)(function)
        return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Plan the run from what was collected; refuse what could be green without proof."""
    run = config.stash.get(_RUN, None)
    if run is None:
        if any(hasattr(item, "obj") and item.get_closest_marker("checklist") for item in items):
            raise pytest.UsageError("the checklists need an environment: pytest --env local features/")
        return
    try:
        items[:] = run.plan(items)
    except ConfigurationError as error:
        run.refuse(error)
        pytest.exit("refused, before anything was touched", returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Nothing that was selected away can be part of a pass."""
    for item in items[:1]:
        if run := item.config.stash.get(_RUN, None):
            run.deselected(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Start deploying and asking in the background, then let pytest run the scenarios."""
    run = session.config.stash.get(_RUN, None)
    if run is None or session.config.option.collectonly or session.testsfailed:
        return None  # after an error in collection nothing may be touched: pytest says so and stops
    try:
        return None if run.begin() else True
    except HarnessError as error:
        raise _usage_error(error) from None


@pytest.fixture(scope="session")
def deploy(pytestconfig: pytest.Config) -> Deploy:
    """``deploy("gateway")``: the component is in its declared state, or the step fails."""
    return pytestconfig.stash[_RUN].session.deploy


@pytest.fixture
def ask(request: pytest.FixtureRequest) -> Ask:
    """``ask(check)``: the evidence passes, or the step fails with it."""
    return request.config.stash[_RUN].session.asking(request.node.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write every scenario down."""
    report = yield
    run = item.config.stash.get(_RUN, None)
    if run is not None:
        run.reported(item, report)
    return report


def pytest_report_teststatus(
    report: pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    """The harness prints its own lines; pytest only counts."""
    if _RUN in config.stash and report.when == "call":
        return report.outcome, "", ""
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Decide; a run that is not a pass never exits with 0."""
    if run := session.config.stash.get(_RUN, None):
        session.exitstatus = run.finish(exitstatus, session.testsfailed)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line is the verdict."""
    if run := config.stash.get(_RUN, None):
        del config.stash[_RUN]
        run.close()
