Feature: Smoke test
  The shortest proof that the parts are one stack: what a person does in their first minute.

  # control: tests/negative/test_smoke.py::test_the_culprit_is_named
  @env:local @env:rehearsal @env:staging @env:production
  Scenario: One conversation across the whole stack
    Given the whole stack is deployed
    Then a conversation goes through web, gateway, both models and the database, and is booked
