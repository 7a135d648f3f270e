Feature: Gateway

  @item:GW-2 @env:local
  Scenario: The gateway answers
    Given the gateway is deployed
    Then it holds

  @item:GW-3 @env:local
  Scenario Outline: The gateway refuses what is too long
    Given the gateway is deployed
    Then a request over <tokens> tokens is refused

    Examples:
      | tokens |
      | 1024   |
      | 2048   |

  @item:GW-1 @env:staging
  Scenario: The image carries no secrets
    Given the gateway is deployed
    Then it is refuted
