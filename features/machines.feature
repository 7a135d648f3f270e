Feature: Machines
  What must be true of the machines themselves: who reaches them, what they keep running, how they are.

  Background:
    Given the whole stack is deployed

  Rule: A firewall on every machine

    # control: tests/negative/test_machines_firewall.py::test_a_flushed_ruleset_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_an_open_policy_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_one_grant_too_many_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_a_missing_grant_is_refuted
    @item:IG-4 @env:rehearsal @env:staging @env:production
    Scenario: The rules are the declared ones
      Then on every machine the firewall holds what the environment allows, also after a reboot

    # control: tests/negative/test_machines_firewall.py::test_a_port_that_docker_publishes_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_a_service_that_does_not_listen_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_a_service_on_loopback_alone_is_refuted
    @item:IG-4 @env:rehearsal @env:staging @env:production
    Scenario: Every connection shows it
      Then from every vantage point each machine answers to whom it may and to nobody else

    # control: tests/negative/test_machines_firewall.py::test_a_gpu_on_the_public_network_is_refuted
    # control: tests/negative/test_machines_firewall.py::test_a_stranger_on_the_private_network_is_refuted
    @env:rehearsal @env:staging @env:production
    Scenario: The private network only
      Then the GPU and the database answer on the private network alone

  Rule: Machines that keep running

    # control: tests/negative/test_machines.py::test_a_disabled_unit_is_refuted
    # control: tests/negative/test_machines.py::test_a_unit_that_is_not_restarted_is_refuted
    # control: tests/negative/test_machines.py::test_a_stopped_unit_is_refuted
    @item:IG-5 @env:rehearsal @env:staging @env:production
    Scenario: A process manager on every machine
      Then every program starts with its machine and is started again when it ends

    # control: tests/negative/test_machines.py::test_a_program_that_stays_dead_is_refuted
    @item:IG-5 @drill @env:rehearsal @env:staging @env:production
    Scenario: A bad moment
      When every program on every machine is killed
      Then each of them serves again within its time, as a new process

    # control: tests/negative/test_machines.py::test_a_full_disk_is_refuted
    # control: tests/negative/test_machines.py::test_a_clock_that_is_wrong_is_refuted
    @env:rehearsal @env:staging @env:production
    Scenario: Time and room
      Then every machine has the right time and room on its disks

  Rule: Logs through the journal

    # control: tests/negative/test_machines.py::test_a_line_that_is_not_json_is_refuted
    # control: tests/negative/test_machines.py::test_a_container_with_another_log_driver_is_refuted
    @item:GW-4 @env:rehearsal @env:staging @env:production
    Scenario: Containers log to the journal
      Then every container logs JSON to its machine's journal, each request with its id

    # control: tests/negative/test_machines.py::test_a_leaking_log_is_refuted
    @item:GW-5 @env:rehearsal @env:staging @env:production
    Scenario: No journal holds a secret
      Then no journal of any machine holds a secret of this environment

  Rule: TLS is terminated at the load balancer

    # control: tests/negative/test_machines_tls.py::test_an_expired_certificate_is_refuted
    # control: tests/negative/test_machines_tls.py::test_an_unknown_authority_is_refuted
    # control: tests/negative/test_machines_tls.py::test_a_certificate_that_ends_soon_is_refuted
    # control: tests/negative/test_machines_tls.py::test_a_certificate_for_another_host_is_refuted
    @env:rehearsal @env:staging @env:production
    Scenario: A certificate that clients accept
      Then its certificate is trusted, for this host, and valid for long enough

    # control: tests/negative/test_machines_tls.py::test_an_old_protocol_is_refuted
    @env:rehearsal @env:staging @env:production
    Scenario: A floor of protocols
      Then older protocols than the declared one are refused

    # control: tests/negative/test_machines_tls.py::test_plaintext_is_refuted
    # control: tests/negative/test_machines_tls.py::test_a_missing_redirect_is_refuted
    @env:rehearsal @env:staging @env:production
    Scenario: No plaintext
      Then plain http leads to https and nowhere else

    # control: tests/negative/test_machines_tls.py::test_a_way_round_the_balancer_is_refuted
    @env:rehearsal @env:staging @env:production
    Scenario: No way round
      Then there is no way round the load balancer
