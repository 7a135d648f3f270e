Feature: Web

  Rule: What people see
    @item:WEB-1 @env:local
    Scenario: The web app shows itself
      Given the web app is deployed
      Then it holds
