"""Given steps: the five components are deployed."""

from __future__ import annotations

from pytest_bdd import given

from harness.asking import Deploy


@given("Supabase is deployed")
def _(deploy: Deploy) -> None:
    deploy("supabase")


@given("the instant model is deployed")
def _(deploy: Deploy) -> None:
    deploy("instant")


@given("the thinking model is deployed")
def _(deploy: Deploy) -> None:
    deploy("thinking")


@given("the gateway is deployed")
def _(deploy: Deploy) -> None:
    deploy("gateway")


@given("the web app is deployed")
def _(deploy: Deploy) -> None:
    deploy("web")


@given("the whole stack is deployed")
def _(deploy: Deploy) -> None:
    deploy("supabase")
    deploy("instant")
    deploy("thinking")
    deploy("gateway")
    deploy("web")
