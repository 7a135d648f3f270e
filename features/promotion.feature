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

    # control: tests/negative/test_promotion.py::test_a_stage_that_nobody_recorded_is_no_pass
    @env:staging @env:production
    Scenario Outline: This release has passed the stage <stage>
      Given the whole stack is deployed
      Then the pipeline has passed <stage> for this very release

      Examples:
        | stage          |
        | test           |
        | build          |
        | deploy staging |
        | smoke test     |

    # control: tests/negative/test_promotion.py::test_a_stage_that_nobody_recorded_is_no_pass
    @env:production
    Scenario: A person has approved this release for production
      Given the whole stack is deployed
      Then the pipeline has passed manual approval for this very release
