"""The deploy lock, over a real ssh server: one at a time, named, and let go of by the dead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.hosts import lock
from harness.hosts.lock import deploy_lock, holder
from harness.hosts.ssh import Remote
from harness.waiting import wait_until
from tests.sshd import needs_sshd, servers

pytestmark = needs_sshd
NAME = f"lock-test-{os.getpid()}"


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    with servers(tmp_path, "balancer") as (remote, _):
        yield remote
    Path(f"/run/lock/harness-{NAME}.lock").unlink(missing_ok=True)


def test_the_second_is_told_who_deploys_and_since_when(remote: Remote) -> None:
    assert holder(remote, "balancer", NAME) is None
    with deploy_lock(remote, "balancer", NAME) as held:
        held.require()
        found = holder(remote, "balancer", NAME)
        assert found is not None and found.pid == os.getpid()
        with (
            pytest.raises(
                DeployError, match=rf"somebody else deploys {NAME}: .*pid {os.getpid()} on .*since 2"
            ),
            deploy_lock(remote, "balancer", NAME),
        ):
            pass
        held.require()
        with deploy_lock(remote, "balancer", f"{NAME}-other"):  # another environment is another lock
            pass
    Path(f"/run/lock/harness-{NAME}-other.lock").unlink()
    wait_until("the lock to be free", lambda: holder(remote, "balancer", NAME) is None, seconds=10)
    with deploy_lock(remote, "balancer", NAME):
        pass


def test_who_is_silent_for_too_long_has_lost_it_and_is_told(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 1)
    monkeypatch.setattr(lock, "BEAT_SECONDS", 3600.0)
    with deploy_lock(remote, "balancer", NAME) as held:
        wait_until("the lease to end", lambda: holder(remote, "balancer", NAME) is None, seconds=30)
        with (
            deploy_lock(remote, "balancer", NAME),
            pytest.raises(DeployError, match="lost the deploy lock"),
        ):
            wait_until("the connection to end", held.require, seconds=30)
