Feature: Rollback
  Whatever is deployed can be taken back, and that was tried before it had to be.

  Rule: Web app - instant rollback to the previous deployment

    # control: tests/negative/test_promotion.py::test_a_way_back_that_nobody_provides_is_no_pass
    @env:staging @env:production
    Scenario: The previous web deployment can serve again
      Given the web app is deployed
      Then its previous deployment is kept and can serve again

  Rule: Gateway - the previous image is kept under its tag

    # control: tests/negative/test_promotion.py::test_a_way_back_that_nobody_provides_is_no_pass
    @env:staging @env:production
    Scenario: The previous gateway image can be deployed again
      Given the gateway is deployed
      Then its previous image is kept and can be deployed again

  Rule: Supabase - restore from backup, or reverse the migration

    # control: tests/negative/test_supabase_migrations.py::test_a_missing_reverse_is_named
    @env:local
    Scenario: The schema of the previous release can be had back
      Given Supabase is deployed
      Then up, down and up again, each migration leaves the schema as it was and keeps the rows

    # control: tests/negative/test_promotion.py::test_a_way_back_that_nobody_provides_is_no_pass
    @env:staging @env:production
    Scenario: The newest backup of the hosted database can be restored
      Given Supabase is deployed
      Then its newest backup can be restored into a project of its own

  Rule: Inference - restart with the previous configuration

    # control: tests/negative/test_promotion.py::test_a_way_back_that_nobody_provides_is_no_pass
    @env:staging @env:production
    Scenario: The previous models can be started again
      Given the instant model is deployed
      And the thinking model is deployed
      Then the previous model versions and configurations are kept and can be started again
