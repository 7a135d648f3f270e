Feature: Rollback
  Whatever is deployed can be taken back, and that was tried before it had to be.

  Rule: Web app - instant rollback to the previous deployment

    # control: tests/negative/test_vercel.py::test_a_first_deployment_has_nothing_to_go_back_to
    # control: tests/negative/test_vercel.py::test_a_previous_deployment_that_cannot_serve_is_named
    # control: tests/negative/test_promotion.py::test_a_way_back_that_nobody_provides_is_no_pass
    @env:staging @env:production
    Scenario: The previous web deployment can serve again
      Given the web app is deployed
      Then its previous deployment is kept and can serve again

    # control: tests/negative/test_vercel.py::test_a_way_back_that_leads_nowhere_is_seen
    # control: tests/negative/test_promotion.py::test_a_way_back_that_nobody_provides_is_no_pass
    @env:staging @drill
    Scenario: The previous web deployment serves again, and the newest after it
      Given the web app is deployed
      When the web app goes back to its previous deployment
      Then that serves within a minute, and the newest again after it

  Rule: Gateway - the previous image is kept under its tag

    # control: tests/negative/test_rollout.py::test_a_previous_image_that_was_pruned_is_seen
    # control: tests/negative/test_rollout.py::test_a_previous_image_that_does_not_start_is_seen
    # control: tests/negative/test_promotion.py::test_a_way_back_that_nobody_provides_is_no_pass
    @env:staging @env:production
    Scenario: The previous gateway image can be deployed again
      Given the gateway is deployed
      Then its previous image is kept and can be deployed again

    # control: tests/negative/test_rollout.py::test_a_previous_image_that_was_pruned_is_seen
    # control: tests/negative/test_rollout.py::test_requests_that_fail_during_a_rollout_are_seen
    @env:rehearsal @env:staging @drill
    Scenario: The previous gateway image serves again, and the newest after it
      Given the gateway is deployed
      Then at 20 requests a second all gateways go to another image and back, each within 90 seconds, unnoticed

  Rule: Supabase - restore from backup, or reverse the migration

    # control: tests/negative/test_supabase_migrations.py::test_a_missing_reverse_is_named
    @env:local @env:rehearsal
    Scenario: The schema of the previous release can be had back
      Given Supabase is deployed
      Then up, down and up again, each migration leaves the schema as it was and keeps the rows

    # control: tests/negative/test_way_back.py::test_a_backup_without_rows_in_the_place_of_the_database_is_named
    # control: tests/negative/test_way_back.py::test_a_backup_that_cannot_be_restored_changes_nothing
    # control: tests/negative/test_way_back.py::test_a_restore_that_did_not_happen_is_named
    @env:rehearsal @drill
    Scenario: A backup takes the place of the database
      Given the whole stack is deployed
      When a backup is restored in the place of the live database
      Then everything of the backup is back, nothing later, and the stack goes on

    # control: tests/negative/test_way_back.py::test_a_reverse_that_leaves_something_behind_is_named
    @env:rehearsal @drill
    Scenario: The newest migration is taken back
      Given the whole stack is deployed
      When the newest migration is taken back
      Then the schema is the previous release's, and the newest comes again with its data

    # control: tests/negative/test_supabase_backup_age.py::test_no_backup_at_all_is_seen
    # control: tests/negative/test_supabase_hosted.py::test_a_dump_without_a_table_is_seen
    @env:staging @env:production
    Scenario: The hosted database can be had back
      Given Supabase is deployed
      Then the platform keeps a backup as fresh as promised, and one kept off the platform can be restored

  Rule: Inference - restart with the previous configuration

    # control: tests/negative/test_way_back.py::test_a_configuration_that_was_pruned_is_named
    # control: tests/negative/test_way_back.py::test_a_new_configuration_that_never_served_is_named
    @env:rehearsal @env:staging @drill
    Scenario: A new configuration of the instant model is taken back
      Given the whole stack is deployed
      When a new configuration of the instant model is deployed and taken back
      Then the one before serves again in time, and everything about it holds

    # control: tests/negative/test_way_back.py::test_a_kept_configuration_that_cannot_start_is_named
    # control: tests/negative/test_way_back.py::test_a_configuration_that_nobody_keeps_is_named
    @env:staging @env:production
    Scenario: The previous configuration of the instant model can be started again
      Given the instant model is deployed
      Then the configuration before is kept on its host, and can be started again
