"""The typed model of environments/*.yaml and its strict loader."""

from harness.environment.model import COMPONENTS, Environment, Waiver

__all__ = ["COMPONENTS", "Environment", "Waiver"]
