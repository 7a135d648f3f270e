Feature: Web app
  People meet the stack in the web app: it must be the release that was meant, know its environment, keep the
  stack's secrets, and tell its operators when something breaks.

  Background:
    Given the web app is deployed

  # control: tests/negative/test_web.py::test_another_release_or_a_development_build_is_not_this_one
  # control: tests/negative/test_vercel.py::test_another_release_than_declared_is_planned_away_and_refuted
  # control: tests/negative/test_vercel.py::test_a_domain_that_is_not_as_it_must_be_is_named
  @env:local @env:rehearsal @env:staging @env:production
  Scenario: The web app is reachable at its address
    Then its address serves this release in the declared mode

  # control: tests/negative/test_web.py::test_a_variable_with_another_value_is_named_with_its_script
  # control: tests/negative/test_vercel.py::test_a_missing_variable_is_named
  @item:WEB-1 @env:local @env:rehearsal @env:staging @env:production
  Scenario: Environment variables of the web app are set correctly
    Then every declared variable has its declared value in what is served

  # control: tests/negative/test_web.py::test_a_planted_secret_is_found_in_any_encoding
  # control: tests/negative/test_vercel.py::test_a_secret_that_anybody_can_read_is_named
  @item:WEB-1 @env:local @env:rehearsal @env:staging @env:production
  Scenario: The web app keeps the secrets of the server
    Then no secret of the stack is in anything that the web app serves

  # control: tests/negative/test_web.py::test_wrong_sign_in_addresses_are_named
  @item:WEB-2 @env:local @env:staging @env:production
  Scenario: Auth callback URLs are configured in Supabase
    Given Supabase is deployed
    Then sign-ins come back to its callback page and to nothing else

  # control: tests/negative/test_web.py::test_a_request_that_arrives_at_another_gateway_is_noticed
  @item:WEB-3 @env:local @env:rehearsal @env:staging @env:production
  Scenario: API routes of the web app point to the correct gateway
    Given the whole stack is deployed
    Then a chat request made through the web app arrives at the gateway of this environment

  # control: tests/negative/test_web.py::test_an_answer_that_comes_all_at_once_or_cut_is_not_a_stream
  @item:WEB-3 @env:local @env:rehearsal @env:staging @env:production
  Scenario: Answers are shown as they are written
    Given the whole stack is deployed
    Then an answer comes through the web app word by word

  # control: tests/negative/test_web.py::test_a_gateway_that_takes_anyone_is_noticed
  @item:WEB-3 @env:local @env:rehearsal @env:staging @env:production
  Scenario: The web app's API is for people who are signed in
    Given the gateway is deployed
    Then whoever is not signed in to the web app is refused with a reason

  # control: tests/negative/test_web.py::test_a_data_api_that_browsers_may_not_call_is_noticed
  @item:WEB-3 @env:local @env:rehearsal @env:staging @env:production
  Scenario: Browsers may use the Data API from the web app
    Given Supabase is deployed
    Then browsers on the web app may use the Data API, each person for their own rows

  # control: tests/negative/test_web.py::test_errors_that_go_nowhere_are_noticed
  @item:WEB-4 @env:local @env:rehearsal @env:staging @env:production
  Scenario: Error tracking of the web app is enabled
    Then an error in the web app is reported with this release and environment

  # control: tests/negative/test_web.py::test_a_weakened_policy_is_named
  @env:local @env:rehearsal @env:staging @env:production
  Scenario: The web app is served safely
    Then browsers are told to run no script but the web app's own
