"""Plug-ins only. Steps are plug-ins so that pytest rewrites their assertions."""

pytest_plugins = [
    "harness.pytest_plugin",
    "steps.database",
    "steps.deploys",
    "steps.hosts",
    "steps.inference",
    "steps.promotion",
    "steps.services",
    "steps.web",
]
