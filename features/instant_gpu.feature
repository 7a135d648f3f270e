Feature: Instant GPU pod
  The deployment checklist of the always-on model: hardware, weights, server, firewall, process manager.

  Background:
    Given the instant model is deployed

  Rule: GPU type and VRAM verified

    # control: tests/negative/test_inference.py::test_gpu_without_a_provider_is_blocked
    # control: tests/negative/test_machines.py::test_another_gpu_is_refuted
    @item:IG-1 @env:staging @env:production
    Scenario: The instant host has the declared GPU
      Then the instant host has the declared GPU type and memory

  Rule: Model downloaded and loaded

    # control: tests/negative/test_inference.py::test_another_model_id_is_refuted
    # control: tests/negative/test_inference.py::test_a_smaller_context_is_refuted
    # control: tests/negative/test_inference.py::test_corrupted_weights_are_refuted
    # control: tests/negative/test_inference.py::test_a_model_that_cannot_compute_is_refuted
    @item:IG-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The instant model is the declared one, byte for byte
      Then the instant endpoint serves the declared model and context length
      And the instant engine has loaded the declared weights
      And the instant model knows that 2+2 is 4

  Rule: API server running and healthy

    # control: tests/negative/test_inference.py::test_a_hung_engine_is_refuted
    # control: tests/negative/test_inference.py::test_a_stream_without_usage_and_end_is_refuted
    @item:IG-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The instant API server answers, and streams, in time
      Then the instant endpoint answers a one-token chat in time
      And the instant endpoint streams with usage and a proper end

    # control: tests/negative/test_inference.py::test_a_larger_context_than_declared_is_refuted
    @item:IG-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The instant engine caps every request
      Then no request makes the instant engine exceed its token limit

    # control: tests/negative/test_inference.py::test_an_engine_without_a_key_is_refuted
    # control: tests/negative/test_inference.py::test_a_key_in_an_argument_is_refuted
    @item:IG-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The instant engine is for those with the key
      Then every path of the instant endpoint but its health demands the key
      And the instant key stands in no process argument

  Rule: Firewall allows only Gateway

    # control: tests/negative/test_inference.py::test_firewall_without_a_provider_is_blocked
    # control: tests/negative/test_machines_firewall.py::test_a_flushed_ruleset_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_an_open_policy_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_one_grant_too_many_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_a_missing_grant_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_a_cut_link_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_a_peer_that_cannot_get_out_is_refuted
    @item:IG-4 @env:rehearsal @env:staging @env:production
    Scenario: The instant host lets nobody in but the gateway
      Then only the gateway reaches the instant host

  Rule: Process manager configured

    # control: tests/negative/test_inference.py::test_an_engine_that_is_not_restarted_is_refuted
    @item:IG-5 @drill @env:local @env:rehearsal @env:staging @env:production
    Scenario: The process manager brings a killed engine back
      When the instant engine is killed
      Then the instant engine answers again in time, as a new process

    # control: tests/negative/test_machines.py::test_a_host_that_is_not_back_after_a_reboot_is_refuted
    @item:IG-5 @drill @env:rehearsal @env:staging @env:production
    Scenario: The instant host comes back from a reboot
      When the instant host is rebooted
      Then the instant host is back in time, with its engine, its private network and its firewall
