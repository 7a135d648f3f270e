Feature: Gateway
  The one door to the models: it knows its users, holds them to their limits, tells the truth about its
  health, and writes down what happened without writing down what was said.

  Rule: Docker image built and tested

    # control: tests/negative/test_gateway_image.py::test_an_image_of_another_release_is_seen
    # control: tests/negative/test_gateway_image.py::test_an_image_that_is_larger_or_another_users_is_seen
    @item:GW-1 @env:rehearsal @env:staging @env:production
    Scenario: The gateway's image is this release, runs unprivileged and can tell its health
      Given the gateway is deployed
      Then its image carries this release, the declared user and size, and a health check

    # control: tests/negative/test_gateway_image.py::test_an_image_that_does_not_start_is_seen
    @item:GW-1 @env:rehearsal @env:staging @env:production
    Scenario: The gateway's image is tested before it is shipped
      Given the gateway is deployed
      Then its image starts with this environment's settings and answers

    # control: tests/negative/test_rollout.py::test_another_digest_on_one_of_two_gateways_is_named
    @item:GW-1 @env:rehearsal @env:staging @env:production
    Scenario: Every gateway runs this release
      Given the gateway is deployed
      Then every gateway runs this release's image, to the digest

    # control: tests/negative/test_gateway_image.py::test_a_container_that_is_held_loosely_is_seen
    @item:GW-1 @env:rehearsal @env:staging @env:production
    Scenario: A gateway that is broken into can do little
      Given the gateway is deployed
      Then every gateway is an unprivileged user in a read-only container without capabilities

  Rule: Replaced without anybody noticing

    # control: tests/negative/test_rollout.py::test_requests_that_fail_during_a_rollout_are_seen
    # control: tests/negative/test_rollout.py::test_a_stream_that_is_cut_is_seen
    # control: tests/negative/test_rollout.py::test_a_previous_image_that_was_pruned_is_seen
    @item:GW-1 @env:rehearsal @env:staging @drill
    Scenario: All gateways are replaced under traffic
      Given the gateway is deployed
      Then at 20 requests a second all gateways go to another image and back, each within 90 seconds, unnoticed

    # control: tests/negative/test_rollout.py::test_a_bad_image_that_is_rolled_out_is_seen
    # control: tests/negative/test_rollout.py::test_a_way_back_that_is_slow_or_wide_is_seen
    @item:GW-1 @env:rehearsal @env:staging @drill
    Scenario: A bad image stops at the first gateway
      Given the gateway is deployed
      Then at 20 requests a second an image that does not start is taken back by itself within 5 seconds

    # control: tests/negative/test_rollout.py::test_a_deploy_without_a_lock_is_seen
    @item:GW-1 @env:rehearsal @env:staging @drill
    Scenario: Two never deploy at once
      Given the gateway is deployed
      Then a second deploy at the same time is refused, naming who deploys and since when

  Rule: Environment variables for production

    # control: tests/negative/test_gateway.py::test_a_changed_setting_is_named
    # control: tests/negative/test_gateway.py::test_a_published_secret_is_seen
    @item:GW-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The running gateway has the declared settings
      Given the gateway is deployed
      Then its live settings are the declared ones, without development defaults

    # control: tests/negative/test_gateway.py::test_a_validation_that_lets_a_default_through_is_seen
    @item:GW-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Production refuses a developer's settings
      Given the gateway is deployed
      Then as production it refuses every development default by name

    # control: tests/negative/test_gateway.py::test_production_settings_that_the_gateway_refuses_are_seen
    @item:GW-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Every declared environment has settings that the gateway accepts
      Given the gateway is deployed
      Then the gateway's own validation accepts the settings of every environment file

  Rule: Health check endpoint working

    # control: tests/negative/test_gateway.py::test_a_dead_gateway_is_not_alive
    # control: tests/negative/test_gateway.py::test_a_hung_gateway_is_not_alive
    # control: tests/negative/test_gateway.py::test_a_dead_engine_is_named_by_readiness
    # control: tests/negative/test_gateway.py::test_readiness_that_blames_another_is_caught
    @item:GW-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The gateway is alive and ready
      Given the gateway is deployed
      Then it is alive
      And it is ready and names every dependency with its latency

    # control: tests/negative/test_gateway.py::test_a_wrong_environment_and_a_wrong_release_are_seen
    @item:GW-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The gateway says who it is
      Given the gateway is deployed
      Then every answer names this environment and this release

    # control: tests/negative/test_gateway.py::test_readiness_that_lies_is_caught
    @item:GW-3 @env:local @env:rehearsal @env:staging @drill
    Scenario Outline: Readiness tells the truth when <program> stops
      Given the gateway is deployed
      Then within <seconds> seconds of <program> stopping, readiness names the <dependency> alone, and heals

      Examples:
        | program  | dependency | seconds |
        | postgres | database   | 5       |
        | instant  | instant    | 5       |
        | thinking | thinking   | 5       |

  Rule: Logging configured (structured JSON)

    # control: tests/negative/test_gateway.py::test_a_line_that_is_not_json_is_seen
    # control: tests/negative/test_gateway.py::test_a_request_that_was_not_logged_is_seen
    @item:GW-4 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Every request leaves one structured line
      Given the gateway is deployed
      Then every log line is JSON and carries the id of the request it is about

    # control: tests/negative/test_gateway.py::test_a_leak_into_the_log_is_seen
    @item:GW-4 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Logs and metrics hold no secret and no conversation
      Given the gateway is deployed
      Then neither its log nor its metrics hold a token, a key, a prompt or an answer

    # control: tests/negative/test_gateway.py::test_open_metrics_are_seen
    @item:GW-4 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Metrics are private
      Given the gateway is deployed
      Then metrics are given to the metrics token alone

  Rule: Secrets not baked into image

    # control: tests/negative/test_gateway_image.py::test_a_secret_in_a_deep_layer_is_seen
    # control: tests/negative/test_gateway_image.py::test_a_secret_that_nobody_told_us_about_is_seen
    @item:GW-5 @env:rehearsal @env:staging @env:production
    Scenario: The gateway's image holds no secret
      Given the gateway is deployed
      Then no layer, variable or history line of its image holds a secret of this environment or any other

  Rule: Only known users, within their limits

    # control: tests/negative/test_gateway_limits.py::test_a_gateway_with_another_key_is_seen
    # control: tests/negative/test_gateway_limits.py::test_a_gateway_that_accepts_old_tokens_is_seen
    @item:GW-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Strangers are refused
      Given the gateway is deployed
      Then it refuses every token that this environment did not issue for now

    # control: tests/negative/test_gateway_limits.py::test_limits_that_are_off_are_seen
    @item:GW-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The declared limits are enforced
      Given the gateway is deployed
      Then it refuses a request beyond the declared tokens
      And it refuses a user beyond the declared tokens of a day
      And it refuses a user beyond the declared requests in flight
