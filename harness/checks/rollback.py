"""The way back: is there something to go back to, and does it work?"""

from __future__ import annotations

from harness.checks.base import check
from harness.errors import NoProvider
from harness.evidence import Evidence
from harness.stack import Stack

__all__ = ["database_restored", "gateway_redeployed", "inference_reconfigured", "web_reverted"]

# Each names its component, so that a missing provider of the component itself is said first.


@check("rollback.web", component="web")
def web_reverted(stack: Stack) -> Evidence:
    """The previous deployment of the web app is kept, and serving it again takes seconds."""
    raise NoProvider("nothing keeps or promotes the web app's previous deployment yet")


@check("rollback.gateway", component="gateway")
def gateway_redeployed(stack: Stack) -> Evidence:
    """The gateway's previous image is kept under its tag, and can be deployed again."""
    raise NoProvider("nothing keeps the gateway's previous image yet")


@check("rollback.database", component="supabase")
def database_restored(stack: Stack) -> Evidence:
    """The newest backup of the hosted database can be restored into a project of its own."""
    raise NoProvider("nothing restores backups of a hosted project yet")


@check("rollback.inference", component="instant", needs=("thinking",))
def inference_reconfigured(stack: Stack) -> Evidence:
    """The previous model version and engine configuration are kept, and can be started again."""
    raise NoProvider("nothing keeps the engines' previous configuration yet")
