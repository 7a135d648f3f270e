"""Negative controls of the image checks, on archives as `docker save` writes them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness.checks import image
from harness.checks.leaks import Needles
from harness.environment.loader import load
from harness.errors import HarnessError
from harness.evidence import Verdict
from harness.secrets import SecretStore
from harness.stack import Stack

ROOT = Path(__file__).parents[2]
RELEASE = "gateway@0123456789ab"
TIGHT: dict[str, Any] = {
    "user": "10001:10001",
    "wrote": "",
    "read_only": True,
    "privileged": False,
    "capabilities": [],
    "gains_privileges": False,
    "mounts": [],
}
SECRET = "k3y/with+odd characters=and&more-0123456789"
GOOD: dict[str, Any] = {
    "User": "10001:10001",
    "Env": ["PATH=/usr/bin"],
    "Labels": {"org.opencontainers.image.version": RELEASE},
    "Healthcheck": {"Test": ["CMD", "python", "-m", "gateway.probe"]},
}


def _tar(files: Mapping[str, bytes], compress: bool = False) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compress else "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def archive(
    path: Path,
    layers: list[Mapping[str, bytes]],
    settings: Mapping[str, Any] | None = None,
    history: list[Mapping[str, Any]] | None = None,
    compress: bool = False,
) -> Path:
    names = [f"blobs/sha256/{number:064d}" for number in range(len(layers))]
    config = {"config": {**GOOD, **(settings or {})}, "history": history or []}
    manifest = [{"Config": "blobs/sha256/config", "RepoTags": ["gateway:test"], "Layers": names}]
    files = {"blobs/sha256/config": json.dumps(config).encode()}
    files |= {name: _tar(layer, compress) for name, layer in zip(names, layers, strict=True)}
    path.write_bytes(_tar({**files, "manifest.json": json.dumps(manifest).encode()}))
    return path


@dataclass
class Exported:
    """A provider that runs the gateway from an image, as far as the checks can see."""

    path: Path
    seen: dict[str, int | str] = field(default_factory=lambda: {"/health/live": 200, "/health/ready": 200})
    component: str = "gateway"
    release: str = RELEASE
    held: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"gateway-1": dict(TIGHT), "gateway-2": dict(TIGHT)}
    )

    def confinement(self) -> Mapping[str, Mapping[str, Any]]:
        return self.held

    def image_archive(self) -> Path:
        return self.path

    def trial(self) -> Mapping[str, int | str]:
        return self.seen

    def declared_settings(self) -> dict[str, str]:
        return {}

    live_settings = declared_settings


def stack_of(tmp_path: Path, exported: Exported) -> Stack:
    stack = Stack(ROOT, tmp_path, load("local", ROOT).environment, SecretStore(ROOT, tmp_path))
    stack.providers["gateway"] = exported
    return stack


def hosted(tmp_path: Path, exported: Exported) -> Stack:
    """The same, where images are declared: at most 1 MiB, of user 10001."""
    stack = stack_of(tmp_path, exported)
    declared = load("staging", ROOT).environment.gateway.model_copy(update={"largest_image_mib": 1})
    stack.environment = stack.environment.model_copy(update={"gateway": declared})
    return stack


def leaks(path: Path) -> list[tuple[str, str]]:
    return [(leak.part, leak.hit.form) for leak in image.scan(path, Needles({"the key": SECRET}))]


CLEAN: Mapping[str, bytes] = {"app/gateway.py": b"print('hello')\n" * 1000}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "written",
    [
        SECRET.encode(),
        quote(SECRET, safe="").encode(),
        base64.b64encode(b"xy" + SECRET.encode() + b"z"),
        SECRET.encode().hex().encode(),
        gzip.compress(b"key=" + SECRET.encode()),
    ],
    ids=["plain", "url", "base64", "hex", "gzip"],
)
def test_a_secret_in_a_deep_layer_is_seen(tmp_path: Path, written: bytes, compress: bool) -> None:
    deep = (
        {"app/.env": b"#" * 1_048_570 + written + b"\n"}
        if written[:2] != b"\x1f\x8b"
        else {"x.gz": written}
    )
    layers = [
        CLEAN,
        deep,
        {"app/.wh..env": b""},
        CLEAN,
    ]  # a later layer deletes it: it is there all the same
    found = leaks(archive(tmp_path / "image.tar", layers, compress=compress))
    assert [part for part, _ in found] == [f"layer 2 of 4: {next(iter(deep))}"]
    assert leaks(archive(tmp_path / "clean.tar", [CLEAN, CLEAN], compress=compress)) == []


def test_a_secret_in_a_variable_a_label_the_history_or_a_name_is_seen(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "image.tar",
        [{f"run/{SECRET}": b""}],
        {"Env": [f"API_KEY={SECRET}"], "Labels": {"note": SECRET}, "Cmd": ["--key", SECRET]},
        [{"created_by": "FROM scratch"}, {"created_by": f"RUN login --password '{SECRET}'"}],
    )
    places = {part for part, _ in leaks(path)}
    assert places == {
        "variable API_KEY",
        "label note",
        "history line 2",
        "configuration",
        "layer 1 of 1: the name of a file",
    }


def test_the_check_names_the_secret_and_the_layer_but_not_the_value(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "image.tar")
    stack = stack_of(tmp_path, exported)
    key = stack.secret("local:instant_api_key").reveal()
    archive(exported.path, [CLEAN, {"root/.cache/pip.conf": f"[x]\nkey = {key}\n".encode()}])
    evidence = image.secret_free(stack)
    assert evidence.verdict is Verdict.REFUTED
    (finding,) = evidence.findings
    assert finding.where == "gateway image: layer 2 of 2: root/.cache/pip.conf"
    assert finding.observed == "instant.api_key (plain) is there"
    assert key not in str(evidence.as_dict())
    archive(exported.path, [CLEAN])
    assert image.secret_free(stack).verdict is Verdict.HOLDS


@pytest.mark.parametrize(
    ("settings", "observed"),
    [
        ({"Labels": {"org.opencontainers.image.version": "gateway@000000000000"}}, "gateway@000000000000"),
        ({"Labels": None}, "no such label"),
        ({"User": ""}, "root"),
        ({"User": "0:0"}, "0:0"),
        ({"Healthcheck": None}, "none"),
    ],
)
def test_an_image_of_another_release_is_seen(
    tmp_path: Path, settings: dict[str, Any], observed: str
) -> None:
    exported = Exported(archive(tmp_path / "image.tar", [CLEAN]))
    stack = stack_of(tmp_path, exported)
    assert image.described(stack).verdict is Verdict.HOLDS
    archive(exported.path, [CLEAN], settings)
    evidence = image.described(stack)
    assert evidence.verdict is Verdict.REFUTED
    assert [finding.observed for finding in evidence.findings] == [observed]


def test_an_image_that_is_larger_or_another_users_is_seen(tmp_path: Path) -> None:
    exported = Exported(archive(tmp_path / "image.tar", [CLEAN]))
    stack = hosted(tmp_path, exported)
    assert image.described(stack).verdict is Verdict.HOLDS
    archive(exported.path, [CLEAN, {"opt/build-tools": bytes(2 << 20)}], {"User": "1000:1000"})
    evidence = image.described(stack)
    assert [finding.observed for finding in evidence.findings] == ["1000:1000", "2 MiB in 2 layers"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", "0:0"),
        ("wrote", "it wrote to /opt/gateway/app"),
        ("read_only", False),
        ("privileged", True),
        ("capabilities", ["NET_ADMIN"]),
        ("gains_privileges", True),
        ("mounts", ["/var/run/docker.sock"]),
    ],
)
def test_a_container_that_is_held_loosely_is_seen(tmp_path: Path, name: str, value: object) -> None:
    exported = Exported(tmp_path / "none.tar")
    stack = hosted(tmp_path, exported)
    assert image.confined(stack).verdict is Verdict.HOLDS
    exported.held["gateway-2"] = {**TIGHT, name: value}
    (finding,) = image.confined(stack).findings
    assert finding.where == "the gateway's container on gateway-2"
    assert finding.observed == f"{name}: {value!r}"


def test_a_container_of_which_nothing_is_known_does_not_hold(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "none.tar", held={"gateway-1": {}})
    assert len(image.confined(hosted(tmp_path, exported)).findings) == len(TIGHT)


def _stranger() -> bytes:
    """A private key that nobody told the harness about."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@pytest.mark.parametrize("place", ["file", "history", "variable"])
def test_a_secret_that_nobody_told_us_about_is_seen(tmp_path: Path, place: str) -> None:
    token = "ghp_" + "x4fD9aB2cE7gH1iJ3kL5mN6oP8qR0sT2uV4w"  # of the form, of nobody
    deep = {"root/.ssh/id_rsa": _stranger() if place == "file" else b"nothing"}
    settings = {"Env": [f"GITHUB_TOKEN={token}"]} if place == "variable" else {}
    history = (
        [{"created_by": f"RUN git clone https://x:{token}@github.com/a/b"}] if place == "history" else []
    )
    exported = Exported(archive(tmp_path / "image.tar", [CLEAN, deep, {"root/.ssh/.wh.id_rsa": b""}]))
    archive(exported.path, [CLEAN, deep, {"root/.ssh/.wh.id_rsa": b""}], settings, history)
    evidence = image.secret_free(stack_of(tmp_path, exported))
    assert evidence.verdict is Verdict.REFUTED
    expected = {
        "file": "gateway image: layer 2 of 3: root/.ssh/id_rsa",
        "history": "gateway image: history line 1",
        "variable": "gateway image: variable GITHUB_TOKEN",
    }
    assert {finding.where for finding in evidence.findings} == {expected[place]}
    assert token not in str(evidence.as_dict())


def test_what_is_published_is_passed_over_in_its_own_file_alone(tmp_path: Path) -> None:
    key = _stranger()
    known = "usr/lib/x86_64-linux-gnu/libgnutls.so.30.34.3"
    stack = stack_of(tmp_path, Exported(archive(tmp_path / "image.tar", [{known: key}])))
    assert image.secret_free(stack).verdict is Verdict.HOLDS
    archive(tmp_path / "image.tar", [{f"{known}.bak/key": key}])
    assert image.secret_free(stack).verdict is Verdict.REFUTED


def test_an_image_that_does_not_start_is_seen(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "image.tar")
    stack = stack_of(tmp_path, exported)
    assert image.starts(stack).verdict is Verdict.HOLDS
    exported.seen = {"/health/live": 200, "/health/ready": 503}
    evidence = image.starts(stack)
    assert evidence.verdict is Verdict.REFUTED
    assert evidence.findings[0].where == "gateway image: /health/ready"
    exported.seen = {}
    assert len(image.starts(stack).findings) == 2


def test_what_cannot_be_read_is_no_pass(tmp_path: Path) -> None:
    broken = tmp_path / "image.tar"
    broken.write_bytes(b"not a tar")
    exported = Exported(broken)
    assert image.secret_free(stack_of(tmp_path, exported)).verdict is Verdict.BLOCKED
    whole = archive(tmp_path / "whole.tar", [CLEAN])
    damaged = whole.read_bytes().replace(b"ustar", b"zstd?")
    whole.write_bytes(damaged)
    with pytest.raises((HarnessError, tarfile.TarError)):
        list(image.scan(whole, Needles({"the key": SECRET})))


def test_without_an_image_nothing_is_claimed(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, Exported(tmp_path / "none.tar"))
    stack.providers.clear()
    for check in (image.described, image.starts, image.secret_free):
        evidence = check(stack)
        assert evidence.verdict is Verdict.BLOCKED
        assert evidence.summary.startswith("no provider")
