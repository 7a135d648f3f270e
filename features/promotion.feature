Feature: Promotion
  A push to main reaches staging; a tag reaches production. In between a release passes every stage of the
  pipeline, and nothing that is secret is ever part of it.

  Rule: Secrets are kept by the pipeline, never by the repository

    # control: tests/negative/test_promotion.py::test_a_committed_secret_is_named
    # control: tests/negative/test_promotion.py::test_a_committed_key_is_named
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: No secret was ever committed
      Given Supabase is deployed
      Then no commit holds a secret of this environment, a private key or a .env file

  Rule: A release passes every stage in order

    # control: tests/negative/test_promotion.py::test_a_release_that_no_decision_lets_in_is_named
    # control: tests/negative/test_promotion.py::test_a_decision_that_another_key_signed_counts_for_nothing
    # control: tests/negative/test_promotion.py::test_a_decision_about_another_release_counts_for_nothing
    @env:staging @env:production
    Scenario: The gate has let in this release
      Given Supabase is deployed
      Then the gate has let in this very release

    # control: tests/negative/test_promotion.py::test_a_decision_without_an_approval_is_named
    @env:production
    Scenario: A person has approved this release for production
      Given Supabase is deployed
      Then as many people as are asked for have approved this very release

  Rule: What was tested is what runs

    # control: tests/negative/test_live.py::test_a_gateway_of_another_release_is_named
    # control: tests/negative/test_live.py::test_a_container_of_another_image_is_named
    # control: tests/negative/test_live.py::test_a_web_app_of_another_release_is_named
    # control: tests/negative/test_live.py::test_a_migration_that_is_not_of_the_release_is_named
    # control: tests/negative/test_live.py::test_other_sql_under_a_released_name_is_named
    # control: tests/negative/test_live.py::test_an_engine_of_another_configuration_is_named
    # control: tests/negative/test_live.py::test_another_model_manifest_is_named
    @env:local @env:rehearsal @env:staging @env:production
    Scenario: What runs is what the release says
      Given the whole stack is deployed
      Then the gateway that runs is that of this release
      And the web app that runs is that of this release
      And the schema that runs is that of this release
      And both models run as this release configures them
