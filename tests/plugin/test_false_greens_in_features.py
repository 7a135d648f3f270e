"""Features and steps that pytest-bdd would pass without any proof: each is refused by name and line."""

from __future__ import annotations

import pytest

from tests.plugin.miniature_project import Miniature

SCENARIO = """
    Feature: Extra

      Scenario: Something
        Given the gateway is deployed
"""


def test_an_async_then(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then nobody awaits it\n")
    project.steps("""
        @then("nobody awaits it")
        async def _(ask):
            assert False
    """)
    project.pytest().is_refused("features/extra.feature:5", "async", "more_steps.py:5")


def test_a_then_that_returns_false(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then it says no\n")
    project.steps("""
        @then("it says no")
        def _(ask):
            ask(checks.good)
            return False
    """)
    project.pytest().is_refused("features/extra.feature:5", "the step returns False", "more_steps.py:5")


def test_a_then_that_yields(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then it yields\n")
    project.steps("""
        @then("it yields")
        def _(ask):
            ask(checks.good)
            yield
    """)
    project.pytest().is_refused("features/extra.feature:5", "the step returns <generator")


def test_a_then_that_asks_nothing(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then all is well\n")
    project.steps("""
        @then("all is well")
        def _():
            assert True
    """)
    project.pytest().is_refused("features/extra.feature:5", "a Then that asks nothing", "more_steps.py:5")


def test_a_scenario_without_steps(project: Miniature) -> None:
    project.feature("""
        Feature: Extra

          Scenario: Nothing at all
    """)
    project.pytest().is_refused("features/extra.feature:3", "without a Then")


def test_a_scenario_without_a_then(project: Miniature) -> None:
    project.feature(SCENARIO)
    project.pytest().is_refused("features/extra.feature:3", "without a Then")


def test_two_scenarios_of_one_name_under_two_rules(project: Miniature) -> None:
    project.feature("""
        Feature: Extra

          Rule: One
            Scenario: The same
              Given the gateway is deployed
              Then it is refuted

          Rule: Two
            Scenario: The same
              Given the gateway is deployed
              Then it holds
    """)
    project.pytest().is_refused(
        "features/extra.feature:9", "a second scenario 'The same'", "extra.feature:4"
    )


def test_a_feature_that_nothing_binds(project: Miniature) -> None:
    project.edit("features/test_scenarios.py", 'scenarios(".")', 'scenarios("gateway.feature")')
    project.pytest().is_no_go("The web app shows itself", "features/web.feature:5", "not selected")


def test_a_scenario_bound_twice(project: Miniature) -> None:
    project.edit("features/test_scenarios.py", 'scenarios(".")', 'scenarios(".")\n')
    project.write("features/test_more.py", 'from pytest_bdd import scenarios\n\nscenarios("web.feature")\n')
    project.pytest().is_refused("features/web.feature:5", "is collected twice")


@pytest.mark.parametrize("table", ["Examples:\n          | label |\n", "Examples:\n"])
def test_an_empty_examples_table(project: Miniature, table: str) -> None:
    project.feature(
        "Feature: Extra\n\n  Scenario Outline: Something\n    Given the gateway is deployed\n"
        f"    Then the label is <label>\n\n    {table}"
    )
    project.pytest().is_refused("features/extra.feature:3", "without a row")


def test_a_placeholder_that_no_column_fills(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then the label is <label>\n")
    project.pytest().is_refused("features/extra.feature:5", "<label>")


def test_tags_on_examples(project: Miniature) -> None:
    project.feature("""
        Feature: Extra

          Scenario Outline: Something
            Given the gateway is deployed
            Then the label is <label>

            @env:staging
            Examples:
              | label |
              | one   |
    """)
    project.pytest().is_refused("features/extra.feature:7", "@env:staging on Examples")


def test_two_step_definitions_that_match(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then it holds well\n")
    project.steps("""
        @then("it holds well")
        def _(ask):
            ask(checks.bad)

        @then(parsers.parse("it holds {how}"))
        def _(ask, how):
            ask(checks.good)
    """)
    project.pytest().is_refused(
        "features/extra.feature:5", "2 step definitions match", "more_steps.py:5", "more_steps.py:9"
    )


def test_an_undefined_step(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then it has never been defined\n")
    project.pytest().is_refused(
        "features/extra.feature:5", "no step definition matches", "never been defined"
    )


def test_an_undefined_step_for_another_environment(project: Miniature) -> None:
    project.feature("""
        Feature: Extra

          @env:staging
          Scenario: Elsewhere
            Given the gateway is deployed
            Then it has never been defined
    """)
    project.pytest().is_refused("features/extra.feature:6", "no step definition matches")


@pytest.mark.parametrize("tag", ["skip", "xfail"])
def test_a_scenario_marked(project: Miniature, tag: str) -> None:
    project.edit("features/web.feature", "@item:WEB-1 @env:local", f"@item:WEB-1 @env:local @{tag}")
    project.pytest().is_refused("features/web.feature:5", f"marked {tag}")


def test_everything_skipped(project: Miniature) -> None:
    project.edit("features/test_scenarios.py", "pytest.mark.checklist", "pytest.mark.skip(reason='later')")
    project.pytest().is_refused("features/gateway.feature:4", "features/web.feature:5", "marked skip")


def test_the_module_is_skipped(project: Miniature) -> None:
    project.edit(
        "features/test_scenarios.py", 'scenarios(".")', 'pytest.skip("no", allow_module_level=True)'
    )
    project.pytest().is_no_go("no scenario was collected", "features/web.feature:5")


def test_a_step_that_skips(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then it skips\n")
    project.steps("""
        import pytest

        @then("it skips")
        def _(ask):
            pytest.skip("not today")
    """)
    project.pytest().is_refused("features/extra.feature:5", "Skipped: not today", "more_steps.py")


def test_a_step_that_ends_pytest(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then it ends\n")
    project.steps("""
        import pytest

        @then("it ends")
        def _(ask):
            pytest.exit("enough", returncode=0)
    """)
    project.pytest().is_no_go("features/extra.feature:5", "enough")


def test_a_step_that_takes_another_fixture(project: Miniature) -> None:
    project.feature(SCENARIO + "        Then it writes\n")
    project.steps("""
        @then("it writes")
        def _(ask, tmp_path):
            ask(checks.good)
    """)
    project.pytest().is_refused("features/extra.feature:5", "the step takes tmp_path", "more_steps.py:5")


def test_an_unregistered_tag(project: Miniature) -> None:
    project.edit("features/web.feature", "@item:WEB-1 @env:local", "@item:WEB-1 @evn:local")
    project.pytest().is_refused("features/web.feature:4", "@evn:local is not registered")


def test_a_feature_that_cannot_be_parsed(project: Miniature) -> None:
    project.feature("Feature: Extra\n\n  Scenario: Something\n    Given x\n    oops\n")
    project.pytest().is_refused("features/extra.feature:5")


def test_every_refusal_at_once(project: Miniature) -> None:
    project.feature("""
        Feature: Extra

          Scenario: One
            Given the gateway is deployed

          Scenario: Two
            Then it has never been defined
    """)
    project.pytest().is_refused("features/extra.feature:3", "features/extra.feature:7")
