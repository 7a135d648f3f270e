"""Fixtures that the negative controls share: a session has one stack, whoever asks for it first."""

from tests.gateway_stack import environment_files, gateway_stack, real_stack
from tests.machines_stack import machines, machines_stand
from tests.rehearsal.conftest import engine
from tests.services_stack import services, services_stand

__all__ = [
    "engine",
    "environment_files",
    "gateway_stack",
    "machines",
    "machines_stand",
    "real_stack",
    "services",
    "services_stand",
]
