"""Keys, certificates, images and configurations of a rehearsal, without an engine."""

from __future__ import annotations

import base64
import datetime as dt
import io
import ssl
import subprocess
import tarfile
from pathlib import Path

import pytest
from cryptography import x509

from harness.environment.explain import secret_fields
from harness.environment.loader import load
from harness.errors import HarnessError
from harness.rehearsal import pki
from harness.rehearsal.furnishing import furnish_state, machine_files, operator_files
from harness.rehearsal.hosts import File, archive, machine
from harness.rehearsal.image import base_recipe, machine_recipe
from harness.rehearsal.keys import ssh_key, wireguard_key
from harness.rehearsal.limits import ensure_limits
from harness.rehearsal.private import OPERATOR, peers_of, wg_quick, wg_setconf
from harness.rehearsal.topology import Host, Topology, topology_of
from harness.secrets import SecretStore
from tests.unit.environment_files import ROOT, project

NAMES = ("10.86.1.10", "gateway.example")


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    root = project(tmp_path)
    return topology_of(load("rehearsal", root).environment, root)


def host(topology: Topology, name: str) -> Host:
    return next(host for host in topology.hosts if host.name == name)


# --- keys and secrets --------------------------------------------------------------------------------


def test_every_secret_of_the_environment_is_made_and_kept(topology: Topology) -> None:
    environment = load("rehearsal", topology.root).environment
    furnish_state(environment, topology)
    store = SecretStore(topology.root, topology.state)
    references = {reference for _, reference in secret_fields(environment)}
    before = {reference: store.resolve(reference).reveal() for reference in references}
    assert len(before) == 9
    assert len(set(before.values())) == 9, "two secrets are the same"
    furnish_state(environment, topology)
    again = SecretStore(topology.root, topology.state)
    assert {reference: again.resolve(reference).reveal() for reference in references} == before


def test_known_hosts_pins_a_key_of_its_own_for_every_machine(topology: Topology) -> None:
    keys = furnish_state(load("rehearsal", topology.root).environment, topology)
    lines = topology.known_hosts.read_text().splitlines()
    assert [line.split()[0] for line in lines] == [host.address for host in topology.hosts]
    assert len({line.split()[2] for line in lines}) == len(topology.hosts)
    assert keys["instant"].public in topology.known_hosts.read_text()


def test_an_ssh_key_is_one_that_openssh_reads(tmp_path: Path) -> None:
    made = ssh_key(tmp_path / "key")
    said = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(tmp_path / "key")], capture_output=True, text=True, check=True
    ).stdout
    assert said.split()[:2] == made.public.split()[:2]
    assert ssh_key(tmp_path / "key").public == made.public


def test_a_wireguard_key_has_32_bytes_and_is_kept(tmp_path: Path) -> None:
    made = wireguard_key(tmp_path / "key")
    assert len(base64.b64decode(made.private)) == 32
    assert wireguard_key(tmp_path / "key").public == made.public
    assert made.public != made.private


# --- what a machine is given -------------------------------------------------------------------------


def test_a_machine_is_given_what_it_needs_and_nothing_of_others(topology: Topology) -> None:
    keys = furnish_state(load("rehearsal", topology.root).environment, topology)
    peers = peers_of(topology, topology.state / "keys")
    given = {
        host.name: machine_files(host, topology, keys[host.name], peers, b"the certificate")
        for host in topology.hosts
    }
    with_engine = {name for name, files in given.items() if any("docker.service" in path for path in files)}
    assert with_engine == {"gateway-1", "gateway-2"}
    with_certificate = {name for name, files in given.items() if topology.certificate in files}
    assert with_certificate == {"balancer"}
    private = {name for name, files in given.items() if "/etc/wireguard/wg0.conf" in files}
    assert private == {"balancer", "gateway-1", "gateway-2", "instant", "database"}
    for name, files in given.items():
        text = b"".join(file.content for file in files.values()).decode()
        others = [peer.key.private for peer in peers.values() if peer.name != name]
        others += [key.private for other, key in keys.items() if other != name]
        assert not [secret for secret in others if secret in text], name
        assert ssh_key(topology.deploy_key).private not in text


def test_everybody_on_the_private_network_knows_everybody_else(topology: Topology) -> None:
    peers = peers_of(topology, topology.state / "keys")
    assert set(peers) == {"balancer", "gateway-1", "gateway-2", "instant", "database", OPERATOR}
    for me in peers.values():
        text = wg_quick(me, peers, topology)
        assert f"Address = {me.address}/24" in text
        assert text.count("[Peer]") == 5
        assert me.key.public not in text
        for peer in peers.values():
            assert (f"AllowedIPs = {peer.address}/32" in text) == (peer is not me)
    operator = wg_setconf(peers[OPERATOR], peers)
    assert "Address" not in operator  # which `wg setconf` would refuse
    assert "Endpoint = 10.86.1.31:51820" in operator
    assert set(operator_files(topology, peers, peers[OPERATOR])) == {
        f"/etc/wireguard/{topology.operator_interface}.conf"
    }


def test_only_a_gateway_machine_has_what_an_engine_needs(topology: Topology) -> None:
    gateway = machine(host(topology, "gateway-1"), topology, "image", {}).options
    instant = machine(host(topology, "instant"), topology, "image", {}).options
    assert gateway["cap_drop"] == ["SYS_RESOURCE"]
    assert instant["cap_add"] == ["SYS_ADMIN", "NET_ADMIN"]
    assert "security_opt" not in instant
    assert "privileged" not in gateway


def test_a_container_is_another_when_anything_of_it_is(topology: Topology) -> None:
    def digest(image: str = "image", content: bytes = b"1", mode: int = 0o600) -> str:
        files = {"/etc/file": File(content, mode)}
        return machine(host(topology, "instant"), topology, image, files).digest

    assert digest() == digest()
    assert len({digest(), digest(image="other"), digest(content=b"2"), digest(mode=0o644)}) == 4


def test_an_archive_keeps_modes_owners_and_links() -> None:
    made = archive({"/a/b": File(b"text", 0o600, 1000, 1000), "/c": File(link="/lib/d")})
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        file, link = tar.getmember("a/b"), tar.getmember("c")
        assert (file.mode, file.uid, file.gid, file.size) == (0o600, 1000, 1000, 4)
        assert link.issym()
        assert link.linkname == "/lib/d"


# --- certificates ------------------------------------------------------------------------------------


def leaf(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def test_the_certificate_is_for_the_names_and_is_kept_while_it_fits(tmp_path: Path) -> None:
    made = pki.ensure_pki(tmp_path, NAMES)
    names = leaf(made).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == set(NAMES)
    assert pki.ensure_pki(tmp_path, NAMES) == made
    other = pki.ensure_pki(tmp_path, ("10.86.2.10",))
    assert other != made
    ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))


def test_a_certificate_that_ends_soon_is_made_anew(tmp_path: Path) -> None:
    made = pki.ensure_pki(tmp_path, NAMES)
    (tmp_path / "balancer.pem").write_bytes(pki.certificate(pki.authority(tmp_path), NAMES, days=20))
    renewed = pki.ensure_pki(tmp_path, NAMES)
    assert leaf(renewed).not_valid_after_utc > dt.datetime.now(dt.UTC) + dt.timedelta(days=60)
    assert renewed != made


def test_the_wrong_certificates_are_wrong_in_one_way_each(tmp_path: Path) -> None:
    pki.ensure_pki(tmp_path, NAMES)
    authority = leaf((tmp_path / "ca.pem").read_bytes())
    expired, unknown = leaf(pki.expired(tmp_path, NAMES)), leaf(pki.unknown(NAMES))
    assert expired.not_valid_after_utc < dt.datetime.now(dt.UTC)
    assert expired.issuer == authority.subject
    expired.verify_directly_issued_by(authority)
    assert unknown.not_valid_after_utc > dt.datetime.now(dt.UTC)
    assert unknown.issuer != authority.subject


# --- images, limits ----------------------------------------------------------------------------------


def test_an_image_is_named_after_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_recipe()
    assert before.image.endswith(f":{before.digest}")
    assert machine_recipe() == before
    monkeypatch.setattr("harness.rehearsal.image.MACHINE_PACKAGES", (*before.packages, "tcpdump"))
    assert machine_recipe().image != before.image


def test_the_stand_in_base_has_the_name_that_the_dockerfile_uses() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert base_recipe().image in bases


def test_a_low_limit_is_raised_and_a_high_one_left(tmp_path: Path) -> None:
    limit, said = tmp_path / "limit", []
    limit.write_text("128\n")
    assert ensure_limits(said.append, limit)
    assert limit.read_text() == "1024\n"
    assert len(said) == 1
    limit.write_text("8192\n")
    assert not ensure_limits(said.append, limit)
    assert limit.read_text() == "8192\n"


def test_a_limit_that_cannot_be_raised_says_what_to_do() -> None:
    class ReadOnly(type(Path())):  # as the kernel's parameters are in a plain container
        def read_text(self, *arguments: object, **options: object) -> str:
            return "128\n"

        def write_text(self, *arguments: object, **options: object) -> int:
            raise PermissionError(13, "Permission denied")

    with pytest.raises(HarnessError, match=r"as root: sysctl fs\.inotify\.max_user_instances=1024"):
        ensure_limits(lambda phrase: None, ReadOnly("/proc/limit"))
