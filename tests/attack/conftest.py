"""One honest promotion for all attacks: each changes a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.stand import Stand, ssh_key, write_tree


@pytest.fixture(scope="session")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sam's ssh key."""
    path = tmp_path_factory.mktemp("ssh") / "sam"
    ssh_key(path)
    return path


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory, ssh: Path) -> Stand:
    """Nothing is wrong with it."""
    public = ssh.with_suffix(".pub").read_text().strip()
    return Stand.honest(write_tree(tmp_path_factory.mktemp("attack") / "tree", public))
