"""What a rehearsal raises follows from its environment file; what cannot be raised is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.environment.loader import load
from harness.errors import ConfigurationError
from harness.rehearsal.engine import lacks
from harness.rehearsal.network import foreign_routes
from harness.rehearsal.topology import Topology, topology_of
from tests.unit.environment_files import ROOT, edit, project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return project(tmp_path)


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    return topology_of(load("rehearsal", ROOT).environment, tmp_path)


def test_everything_follows_from_the_environment_file(topology: Topology) -> None:
    assert str(topology.network) == "10.86.1.0/24"
    assert str(topology.private) == "10.87.1.0/24"
    engines = {host.name for host in topology.hosts if host.runs_engine}
    assert engines == {"gateway-1", "gateway-2"}
    assert {host.name for host in topology.hosts if host.balances} == {"balancer"}
    assert {host.name for host in topology.hosts if host.private_address is None} == {"outsider", "client"}
    assert topology.hosts[0].container == "rehearsal-balancer"
    assert topology.tls_names == ("10.86.1.10",)
    assert topology.registry_port == 5086


def test_a_copy_under_another_name_shares_nothing(root: Path, topology: Topology) -> None:
    text = (root / "environments" / "rehearsal.yaml").read_text()
    for old, new in (("rehearsal", "second"), ("10.86.1.", "10.86.2."), ("10.87.1.", "10.87.2.")):
        text = text.replace(old, new)
    (root / "environments" / "second.yaml").write_text(text)
    second = topology_of(load("second", root).environment, root)
    assert not second.network.overlaps(topology.network)
    assert not second.private.overlaps(topology.private)
    assert {host.container for host in second.hosts}.isdisjoint(host.container for host in topology.hosts)
    assert second.bridge != topology.bridge
    assert second.operator_interface != topology.operator_interface
    assert second.state != topology.state
    assert len(second.bridge) <= 15
    assert len(second.operator_interface) <= 15


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "operator: 10.86.1.1",
            "operator: ci.example",
            "machines.operator: must be a private",
        ),
        ("operator: 10.86.1.1", "operator: 8.8.8.8", "machines.operator: must be a private"),
        ("operator: 10.86.1.1\n", "operator: 10.86.1.2\n", "machines.operator: must be 10.86.1.1"),
        (
            "address: 10.86.1.31",
            "address: 10.99.1.31",
            "machines.instant.address: must be an address in 10.86.1.0/24",
        ),
        ("address: 10.86.1.31", "address: 10.86.1.41", "10.86.1.41 is that of instant"),
        ("address: 10.86.1.31", "address: 10.86.1.1", "10.86.1.1 is that of operator"),
        ("kind: wireguard", "kind: tailscale", "is tailscale, which needs an account"),
        ("user: deploy", "user: root", "machines.ssh.user: must be deploy"),
        (
            "key: file:.harness/rehearsal/secrets/deploy_key",
            "key: file:~/.ssh/id_ed25519",
            "machines.ssh.key: must be a file in .harness/rehearsal/",
        ),
        (
            "known_hosts: .harness/rehearsal/known_hosts",
            "known_hosts: .harness/rehearsal/../../environments/staging.known_hosts",
            "machines.ssh.known_hosts: must be a file in .harness/rehearsal/",
        ),
        (
            "known_hosts: .harness/rehearsal/known_hosts",
            "known_hosts: environments/staging.known_hosts",
            "machines.ssh.known_hosts: must be a file in .harness/rehearsal/",
        ),
        (
            "registry: 127.0.0.1:5086",
            "registry: registry.chat.example",
            "gateway.registry: must be on this machine",
        ),
    ],
)
def test_what_cannot_be_raised_here_is_named(root: Path, old: str, new: str, message: str) -> None:
    edit(root, "rehearsal", (old, new))
    with pytest.raises(ConfigurationError) as caught:
        topology_of(load("rehearsal", root).environment, root)
    assert message in str(caught.value)


def test_all_that_cannot_be_raised_is_named_at_once(root: Path) -> None:
    edit(root, "rehearsal", ("kind: wireguard", "kind: tailscale"), ("user: deploy", "user: root"))
    with pytest.raises(ConfigurationError) as caught:
        topology_of(load("rehearsal", root).environment, root)
    assert len(caught.value.problems) == 2


def test_an_environment_without_machines_cannot_be_rehearsed() -> None:
    with pytest.raises(ConfigurationError, match="machines: is missing"):
        topology_of(load("local", ROOT).environment, ROOT)


def test_production_is_never_raised_by_accident() -> None:
    for name in ("staging", "production"):
        with pytest.raises(ConfigurationError, match="cannot be rehearsed"):
            topology_of(load(name, ROOT).environment, ROOT)


# --- routes ------------------------------------------------------------------------------------------


def test_a_network_that_this_machine_already_has_there_is_found(topology: Topology) -> None:
    known: list[dict[str, object]] = [
        {"dst": "default", "dev": "eth0", "type": "unicast"},
        {"dst": "10.86.0.0/16", "dev": "vpn0", "type": "unicast"},
        {"dst": "10.87.1.7", "dev": "eth1", "type": "unicast"},
        {"dst": "192.0.2.0/24", "dev": "eth0", "type": "unicast"},
    ]
    assert foreign_routes(topology, known) == ["10.86.0.0/16 on vpn0", "10.87.1.7 on eth1"]


def test_the_rehearsals_own_routes_are_not_foreign(topology: Topology) -> None:
    known: list[dict[str, object]] = [
        {"dst": "10.86.1.0/24", "dev": topology.bridge, "type": "unicast"},
        {"dst": "10.86.1.255", "dev": topology.bridge, "type": "broadcast"},
        {"dst": "10.86.1.1", "dev": topology.bridge, "type": "local"},
        {"dst": "10.86.1.0/24", "type": "unreachable"},
        {"dst": "10.87.1.0/24", "dev": topology.operator_interface, "type": "unicast"},
    ]
    assert foreign_routes(topology, known) == []


# --- what is missing ---------------------------------------------------------------------------------


def test_a_user_who_is_not_root_is_told_what_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (said,) = lacks(["docker.io", "mmdebstrap"])
    assert "only root may" in said
    assert "install docker.io mmdebstrap" in said


def test_root_without_the_capabilities_of_an_engine_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("harness.rehearsal.engine._effective_capabilities", lambda: 1 << 12)
    monkeypatch.setattr("harness.rehearsal.engine.find_program", lambda program: None)
    first, second = lacks(["docker.io"])
    assert "root lacks CAP_SYS_ADMIN" in first
    assert "docker.io cannot be installed: there is no apt-get" in second


def test_root_with_everything_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("harness.rehearsal.engine._effective_capabilities", lambda: (1 << 40) - 1)
    monkeypatch.setattr("harness.rehearsal.engine.find_program", lambda program: f"/usr/bin/{program}")
    assert list(lacks(["docker.io"])) == []
