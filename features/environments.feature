Feature: Environments
  The plan's component table: where each component runs, from a developer's machine to production.

  # control: tests/negative/test_environments.py::test_a_component_that_is_not_as_declared_is_named
  @env:local
  Scenario Outline: Locally, <part> runs on this machine
    Given <part> is deployed
    Then the component <component> is provided by <provider> and answers at its declared address

    Examples:
      | part               | component | provider |
      | the web app        | web       | local    |
      | the gateway        | gateway   | local    |
      | the instant model  | instant   | local    |
      | the thinking model | thinking  | local    |
      | Supabase           | supabase  | local    |

  # control: tests/negative/test_environments.py::test_a_program_that_everybody_can_reach_is_named
  # control: tests/negative/test_environments.py::test_a_declared_port_without_a_program_is_named
  @env:local
  Scenario: Nothing of the local stack can be reached from outside
    Given the whole stack is deployed
    Then everything that listens does so on loopback, and belongs to the stack

  # control: tests/negative/test_environments.py::test_a_component_that_is_not_as_declared_is_named
  @env:rehearsal
  Scenario Outline: In the rehearsal, <part> runs on machines like staging's, or on this one
    Given <part> is deployed
    Then the component <component> is provided by <provider> and answers at its declared address

    Examples:
      | part               | component | provider |
      | the web app        | web       | local    |
      | the gateway        | gateway   | docker   |
      | the instant model  | instant   | pod      |
      | the thinking model | thinking  | local    |
      | Supabase           | supabase  | host     |

  # control: tests/negative/test_environments.py::test_a_component_that_is_not_as_declared_is_named
  @env:staging @env:production
  Scenario Outline: Hosted, <part> runs at its provider
    Given <part> is deployed
    Then the component <component> is provided by <provider> and answers at its declared address

    Examples:
      | part               | component | provider |
      | the web app        | web       | vercel   |
      | the gateway        | gateway   | docker   |
      | the instant model  | instant   | pod      |
      | the thinking model | thinking  | runpod   |
      | Supabase           | supabase  | cloud    |

  # control: tests/negative/test_environments.py::test_a_shared_host_and_a_shared_secret_are_named
  @env:local @env:rehearsal @env:staging @env:production
  Scenario: Environments share neither hosts nor secrets
    Given Supabase is deployed
    Then no two environments share a host, a project or a secret
