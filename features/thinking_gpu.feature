Feature: Thinking GPU (serverless)
  The deployment checklist of the model that costs nothing while nobody thinks.

  Background:
    Given the thinking model is deployed

  Rule: Endpoint URL configured

    # control: tests/negative/test_serverless.py::test_other_settings_than_declared_are_refuted
    # control: tests/negative/test_runpod.py::test_another_setting_is_planned_away_and_refuted
    # control: tests/negative/test_cost.py::test_a_gateway_that_asks_elsewhere_is_refuted
    # control: tests/negative/test_runpod.py::test_a_gateway_that_asks_elsewhere_is_refuted
    @item:TG-1 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The thinking endpoint is the declared one, and people reach it
      Given the gateway is deployed
      Then the thinking platform runs with the declared settings
      And what is asked through the gateway arrives at the thinking endpoint

    # control: tests/negative/test_serverless.py::test_an_endpoint_without_a_key_is_refuted
    @item:TG-1 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The thinking endpoint is for those with the key
      Then every path of the thinking endpoint but its health demands the key

    # control: tests/negative/test_inference.py::test_a_key_in_an_argument_is_refuted
    # elsewhere somebody else's platform runs it, and shows nobody its processes
    @item:TG-1 @env:local @env:rehearsal
    Scenario: The thinking key is hidden where the engine runs
      Then the thinking key stands in no process argument

  Rule: Model selected and tested

    # control: tests/negative/test_serverless.py::test_another_model_behind_the_platform_is_refuted
    # control: tests/negative/test_runpod.py::test_another_model_is_planned_away_and_refuted
    # control: tests/negative/test_inference.py::test_a_model_that_cannot_compute_is_refuted
    @item:TG-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The thinking model is the declared one, and was tested
      Then the thinking endpoint serves the declared model and context length
      And the thinking model knows that 2+2 is 4
      And the thinking endpoint streams with usage and a proper end

    # control: tests/negative/test_inference.py::test_corrupted_weights_are_refuted
    # elsewhere somebody else's platform runs it, and shows nobody its files
    @item:TG-2 @env:local @env:rehearsal
    Scenario: The thinking model's weights are the declared ones
      Then the thinking engine has loaded the declared weights

    # control: tests/negative/test_serverless.py::test_a_hung_worker_is_refuted_although_health_says_200
    @item:TG-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The thinking endpoint answers in time, whatever its health says
      Then the thinking endpoint answers a one-token chat in time

  Rule: Token limits set

    # control: tests/negative/test_inference.py::test_a_larger_context_than_declared_is_refuted
    # control: tests/negative/test_cost.py::test_a_gateway_without_a_request_limit_is_refuted
    @item:TG-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Tokens are limited at the engine and at the gateway
      Given the gateway is deployed
      Then no request makes the thinking engine exceed its token limit
      And the gateway refuses a larger request to the thinking model than is allowed

    # control: tests/negative/test_serverless.py::test_a_platform_that_never_aborts_is_refuted
    # elsewhere no request can shorten its time; that the declared one is set is among the settings of TG-1
    @item:TG-3 @env:local @env:rehearsal
    Scenario: A thinking job that runs too long is aborted
      Then a thinking job beyond its execution timeout is aborted and not tried again

  Rule: Spending caps enabled

    # control: tests/negative/test_cost.py::test_a_ledger_that_admits_everything_is_refuted
    # control: tests/negative/test_cost.py::test_a_ledger_that_books_too_little_is_refuted
    @item:TG-4 @drill @env:local @env:rehearsal @env:staging @env:production
    Scenario: Parallel requests cannot overrun the thinking budget
      Given the gateway is deployed
      When the thinking budget is almost used up
      Then parallel requests spend no more thinking tokens than are left

    # control: tests/negative/test_serverless.py::test_more_workers_than_declared_are_refuted
    # control: tests/negative/test_runpod.py::test_more_workers_than_declared_are_refuted
    @item:TG-4 @env:local @env:rehearsal @env:staging @env:production
    Scenario: A burst never gets more thinking workers than may be paid for
      Then a burst never exceeds the declared thinking workers and concurrency

    # control: tests/negative/test_runpod.py::test_an_account_that_may_spend_too_much_is_refuted
    # control: tests/negative/test_runpod.py::test_an_account_that_cannot_be_asked_is_no_pass
    # control: tests/negative/test_serverless.py::test_spending_cap_without_a_provider_is_blocked
    @item:TG-4 @env:staging @env:production
    Scenario: The thinking provider's account has a spending limit
      Then the account of the thinking provider has the declared spending limit

  Rule: Cold start time acceptable

    # control: tests/negative/test_serverless.py::test_a_platform_that_never_scales_to_zero_is_refuted
    # control: tests/negative/test_runpod.py::test_an_endpoint_that_never_scales_to_zero_is_refuted
    # control: tests/negative/test_serverless.py::test_a_slow_cold_start_is_refuted
    @item:TG-5 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The thinking model costs nothing while idle, and is there in time
      Then the thinking platform scales to zero and starts again within its budget

    # control: tests/negative/test_serverless.py::test_a_platform_that_does_not_replace_workers_is_refuted
    # elsewhere nobody but the platform can kill or hang a worker: these two are about one of our own
    @item:TG-5 @drill @env:local @env:rehearsal
    Scenario: A killed thinking worker is replaced
      When the thinking worker is killed
      Then the thinking model answers again in time, from a new worker

    # control: tests/negative/test_serverless.py::test_a_platform_that_trusts_health_is_refuted
    @item:TG-5 @drill @env:local @env:rehearsal
    Scenario: A hung thinking worker is noticed and replaced
      When the thinking worker hangs
      Then its job is aborted and another thinking worker takes over
