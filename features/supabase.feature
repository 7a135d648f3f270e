Feature: Supabase
  The data of every user is theirs alone, whoever asks and however; what is stored can be brought back, and
  the key that opens everything is where it belongs and nowhere else.

  Rule: All RLS policies verified

    # control: tests/negative/test_supabase_rls.py::test_a_policy_for_everybody_lets_b_read
    # control: tests/negative/test_supabase_rls.py::test_a_dropped_policy_hides_the_row_from_its_owner
    # control: tests/negative/test_supabase_rls.py::test_a_grant_to_anon_is_seen
    @item:SB-1 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Only its owner and the service role see a user's rows
      Given Supabase is deployed
      Then its owner and the service role see a planted row of every table, and nobody else does

    # control: tests/negative/test_supabase_rls.py::test_a_weak_insert_check_lets_b_forge
    # control: tests/negative/test_supabase_rls.py::test_row_level_security_off_is_seen_by_every_check
    # control: tests/negative/test_supabase_rls.py::test_a_missing_grant_hinders_the_owner
    @item:SB-1 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Nobody writes in another user's name
      Given Supabase is deployed
      Then nobody can insert, change or delete a row in another user's name

    # control: tests/negative/test_supabase_rls.py::test_a_weak_update_check_lets_rows_be_given_away
    # control: tests/negative/test_supabase_rls.py::test_an_update_policy_for_everybody_is_seen_without_a_filter
    @item:SB-1 @env:local @env:rehearsal @env:staging @env:production
    Scenario: A write without a filter stays with its caller
      Given Supabase is deployed
      Then updates and deletes without a filter touch only the caller's own rows, and no row can be given away

    # control: tests/negative/test_supabase_declared.py::test_a_view_with_its_owners_rights_is_named
    # control: tests/negative/test_supabase_declared.py::test_a_definer_function_is_named
    # control: tests/negative/test_supabase_declared.py::test_a_policy_that_trusts_user_metadata_is_named
    @item:SB-1 @env:local @env:rehearsal @env:staging @env:production
    Scenario: What the Data API exposes is declared
      Given Supabase is deployed
      Then every table, view and function of the exposed schema is declared and bound to its owner

    # control: tests/negative/test_supabase_hosted.py::test_a_schema_that_is_exposed_too_is_named
    # control: tests/negative/test_supabase_hosted.py::test_more_rows_than_configured_are_seen
    @item:SB-1 @env:staging @env:production
    Scenario: The hosted Data API exposes nothing more
      Given Supabase is deployed
      Then the hosted Data API exposes the configured schemas alone, and no more rows at once

    # control: tests/negative/test_supabase_declared.py::test_the_advisors_warn
    @item:SB-1 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The security advisors are content
      Given Supabase is deployed
      Then Supabase's own security advisors have nothing to warn of

  Rule: Storage bucket permissions set

    # control: tests/negative/test_supabase_storage.py::test_a_public_bucket_is_seen
    # control: tests/negative/test_supabase_storage.py::test_a_bucket_without_limits_is_seen
    # control: tests/negative/test_supabase_storage.py::test_an_undeclared_bucket_is_seen
    @item:SB-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Every bucket is private and limited
      Given Supabase is deployed
      Then every storage bucket is private and limited exactly as declared

    # control: tests/negative/test_supabase_storage.py::test_a_policy_without_the_folder_is_named
    # control: tests/negative/test_supabase_storage.py::test_a_dropped_policy_hinders_the_owner
    # control: tests/negative/test_supabase_storage.py::test_a_storage_api_that_forgets_a_rule_is_named
    @item:SB-2 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Files belong to the owner of their folder
      Given Supabase is deployed
      Then nobody lists, reads, adds, overwrites or deletes files in another user's folder

  Rule: Service role key secured

    # control: tests/negative/test_supabase_keys.py::test_a_key_in_a_file_is_found
    @item:SB-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The repository holds no service role key
      Given Supabase is deployed
      Then no file of the repository holds a service role key

    # control: tests/negative/test_supabase_keys.py::test_a_key_in_a_log_is_found
    @item:SB-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: No log holds the service role key
      Given the whole stack is deployed
      Then no program has logged the service role key

    # control: tests/negative/test_supabase_keys.py::test_a_key_in_an_environment_is_found
    # control: tests/negative/test_supabase_keys.py::test_a_key_in_an_argument_is_found
    @item:SB-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: No process is handed the service role key
      Given the whole stack is deployed
      Then no process has the service role key in its arguments or environment

    # control: tests/negative/test_supabase_keys.py::test_an_api_that_verifies_with_another_secret_is_seen
    # control: tests/negative/test_supabase_keys.py::test_a_public_key_that_is_a_service_key_is_seen
    @item:SB-3 @env:local @env:rehearsal @env:staging @env:production
    Scenario: Nothing else passes for the service role key
      Given Supabase is deployed
      Then expired, forged and unsigned service keys are refused, and the public key is no service key

    # control: tests/negative/test_supabase_hosted.py::test_a_database_without_enforced_tls_is_seen
    # control: tests/negative/test_supabase_hosted.py::test_a_network_that_may_connect_too_is_named
    @item:SB-3 @env:staging @env:production
    Scenario: The hosted database is reached encrypted, and from declared networks alone
      Given Supabase is deployed
      Then its database refuses connections without encryption, and from networks that are not declared

  Rule: Backups configured

    # control: tests/negative/test_supabase_backup.py::test_a_backup_without_a_table_is_seen
    # control: tests/negative/test_supabase_backup.py::test_a_truncated_backup_is_seen
    # control: tests/negative/test_supabase_backup.py::test_a_backup_without_rows_is_seen
    @item:SB-4 @env:local @env:rehearsal @env:staging @env:production
    Scenario: What is stored can be brought back
      Given Supabase is deployed
      Then a fresh backup brings back every table, row, policy and grant in an empty project

    # control: tests/negative/test_supabase_backup_age.py::test_an_old_backup_is_seen
    # control: tests/negative/test_supabase_backup_age.py::test_recovery_that_is_off_is_seen
    # control: tests/negative/test_supabase_backup_age.py::test_an_api_that_refuses_is_no_pass
    @item:SB-4 @env:staging @env:production
    Scenario: The newest backup is as fresh as promised
      Given Supabase is deployed
      Then its newest backup is as fresh as promised, and recovery to any moment is on where it must be

  Rule: Monitoring enabled

    # control: tests/negative/test_supabase_backup.py::test_a_silent_health_address_is_seen
    # control: tests/negative/test_supabase_backup.py::test_statistics_switched_off_are_seen
    # control: tests/negative/test_supabase_backup.py::test_an_abandoned_replication_slot_is_seen
    @item:SB-5 @env:local @env:rehearsal @env:staging @env:production
    Scenario: The database can be watched
      Given Supabase is deployed
      Then its monitoring answers, and no metric is out of bounds
