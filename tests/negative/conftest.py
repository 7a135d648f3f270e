"""Fixtures that the negative controls share: a session has one stack, whoever asks for it first."""

from tests.gateway_stack import environment_files, gateway_stack, real_stack
from tests.machines_stack import machines, machines_stand
from tests.rehearsal.conftest import engine

__all__ = ["engine", "environment_files", "gateway_stack", "machines", "machines_stand", "real_stack"]
