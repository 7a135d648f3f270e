Feature: Migration workflow
  A change of the schema begins as a file, is applied on a developer's machine and tested there, goes through
  staging, and reaches production last; each can be taken back.

  Rule: 1. Create migration locally

    # control: tests/negative/test_supabase_migrations.py::test_a_migration_dated_in_the_future_is_seen
    @env:local @env:rehearsal
    Scenario: A new migration comes after every other
      Given Supabase is deployed
      Then a new migration can be created, is the newest, and is all that a push would apply

    # control: tests/negative/test_supabase_migration_lint.py::test_a_statement_that_loses_data_is_named
    # control: tests/negative/test_supabase_migration_lint.py::test_a_statement_that_a_hosted_project_refuses_is_named
    # control: tests/negative/test_supabase_migration_lint.py::test_a_deploy_refuses_what_was_not_accepted
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: Every migration was read before it ran
      Given Supabase is deployed
      Then no migration loses data, locks a table in use or is refused when hosted, unless it says why

  Rule: 2. Apply locally

    # control: tests/negative/test_supabase_migrations.py::test_a_change_by_hand_is_drift
    # control: tests/negative/test_supabase_migrations.py::test_a_bucket_changed_by_hand_is_drift
    # control: tests/negative/test_supabase_migrations.py::test_a_grant_by_hand_is_drift
    # control: tests/negative/test_supabase_migrations.py::test_a_migration_that_fails_is_seen
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: The schema is what the migrations make
      Given Supabase is deployed
      Then the migrations applied to an empty project make the live schema

    # control: tests/negative/test_supabase_migrations.py::test_a_migration_that_only_suits_empty_tables_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_migration_that_loses_rows_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_schema_that_depends_on_the_way_is_named
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: The schema of the previous release becomes this one, with its rows
      Given Supabase is deployed
      Then the migrations since the previous release apply to its schema with rows in it, and lose none

  Rule: 3. and 6. Test thoroughly, here and in staging

    # control: tests/negative/test_supabase_pgtap.py::test_a_policy_for_everybody_fails_a_test
    # control: tests/negative/test_supabase_pgtap.py::test_a_test_that_proves_nothing_is_no_pass
    # control: tests/negative/test_supabase_pgtap.py::test_no_test_at_all_is_no_pass
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: The database's own tests hold
      Given Supabase is deployed
      Then every pgTAP test of the project holds in the environment's database

  Rule: 4., 5. and 7. Push, apply to staging, apply to production

    # control: tests/negative/test_supabase_migrations.py::test_an_edited_migration_is_named
    # control: tests/negative/test_supabase_migrations.py::test_an_applied_migration_that_was_moved_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_version_without_a_file_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_migration_that_was_not_applied_is_named
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: What is applied is what is committed
      Given Supabase is deployed
      Then the migrations recorded in the database are those of the repository, unedited

  Rule: Each migration has its reverse

    # control: tests/negative/test_supabase_migrations.py::test_a_reverse_that_leaves_something_behind_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_missing_reverse_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_reverse_that_loses_rows_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_migration_that_cannot_be_applied_again_is_named
    @env:local @env:rehearsal
    Scenario: Every migration can be taken back
      Given Supabase is deployed
      Then up, down and up again, each migration leaves the schema as it was and keeps the rows
