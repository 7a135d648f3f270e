Feature: Migration workflow
  A change of the schema begins as a file, is applied on a developer's machine and tested there, goes through
  staging, and reaches production last; each can be taken back.

  Rule: 1. Create migration locally

    # control: tests/negative/test_supabase_migrations.py::test_a_migration_dated_in_the_future_is_seen
    @env:local @env:rehearsal
    Scenario: A new migration comes after every other
      Given Supabase is deployed
      Then a new migration can be created, is the newest, and is all that a push would apply

  Rule: 2. Apply locally

    # control: tests/negative/test_supabase_migrations.py::test_a_change_by_hand_is_drift
    # control: tests/negative/test_supabase_migrations.py::test_a_migration_that_fails_is_seen
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: The schema is what the migrations make
      Given Supabase is deployed
      Then the migrations applied to an empty project make the live schema

  Rule: 3. to 7. Test, push, apply to staging, test there, apply to production

    # control: tests/negative/test_supabase_migrations.py::test_an_edited_migration_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_version_without_a_file_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_migration_that_was_not_applied_is_named
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: What is applied is what is committed
      Given Supabase is deployed
      Then the migrations recorded in the database are those of the repository, unedited

  Rule: Each migration has its reverse

    # control: tests/negative/test_supabase_migrations.py::test_a_reverse_that_leaves_something_behind_is_named
    # control: tests/negative/test_supabase_migrations.py::test_a_missing_reverse_is_named
    @env:local @env:rehearsal
    Scenario: Every migration can be taken back
      Given Supabase is deployed
      Then each reverse migration leaves the schema as it was before
