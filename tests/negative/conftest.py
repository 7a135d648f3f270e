"""Fixtures that the negative controls share: a session has one stack, whoever asks for it first."""

from tests.gateway_stack import environment_files, gateway_stack, real_stack

__all__ = ["environment_files", "gateway_stack", "real_stack"]
