"""testinfra's modules on the environment's machines, over the connections that stand.

For what the one batch of facts does not say: owners of files, packages, users, kernel settings. Each
question is a command. Not for firewalls: testinfra looks at iptables, and sees nothing of native nftables.
"""

from __future__ import annotations

from typing import Any

import testinfra

from harness.hosts.fleet import Fleet

__all__ = ["modules"]


def modules(fleet: Fleet, machine: str) -> Any:
    """testinfra's host object for ``machine``, as root.

    Raises:
        Unreachable: no connection, a wrong host key, no login.
    """
    configuration = fleet.remote.configuration(machine)
    return testinfra.get_host(f"ssh://{machine}", ssh_config=str(configuration), sudo=True)
