"""What the gateway's image is made from: the declared files, always the same bytes, and nothing else."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from harness.errors import HarnessError
from harness.gateway_requirements import closure, gateway_requirements, locked
from harness.providers.docker.image import Reference, context, created, digest_of
from harness.providers.gateway_environment import source_release
from tests.unit.environment_files import ROOT


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway")
    for name in ("Dockerfile", ".dockerignore", "requirements-gateway.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def names(archive: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return set(tar.getnames())


def test_the_same_sources_are_the_same_bytes_whatever_lies_beside_them(sources: Path) -> None:
    first, release = context(sources), source_release(sources)
    (sources / ".env").write_text("KEY=secret")
    (sources / "gateway" / "__pycache__").mkdir(exist_ok=True)
    (sources / "gateway" / "__pycache__" / "app.pyc").write_bytes(b"x")
    (sources / "gateway" / "notes.txt").write_text("x")
    (sources / "gateway" / "app.py").chmod(0o600)
    assert context(sources) == first and source_release(sources) == release
    (sources / "Dockerfile").write_text("FROM scratch\n")
    assert context(sources) != first and source_release(sources) != release


def test_docker_build_by_hand_sees_the_same_files(sources: Path) -> None:
    (sources / ".env").write_text("KEY=secret")
    (sources / "environments").mkdir()
    (sources / "environments" / "staging.yaml").write_text("x")
    patterns = [
        line for line in (sources / ".dockerignore").read_text().splitlines() if line and line[0] != "#"
    ]
    seen = {path for path in exclude_paths(str(sources), patterns) if (sources / path).is_file()}
    assert seen - {".dockerignore"} == names(context(sources))  # the client always sends that one, too


def test_the_dockerfile_names_no_registry_and_needs_no_frontend() -> None:
    text = (ROOT / "Dockerfile").read_text()
    images = [line.split()[1] for line in text.splitlines() if line.startswith("FROM")]
    assert images == ["python:3.11-slim"] * 2
    assert "# syntax" not in text and "--pull" not in text and "certificates" not in text
    assert "USER 10001:10001" in text and "HEALTHCHECK" in text


def test_outside_a_repository_the_time_is_not_made_up(sources: Path) -> None:
    assert created(sources) == "1970-01-01T00:00:00Z"
    assert created(ROOT) == created(ROOT) != "1970-01-01T00:00:00Z"


def test_every_package_that_the_gateway_imports_is_installed_in_the_image() -> None:
    imported = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    strangers = imported - set(sys.stdlib_module_names) - {"gateway"}
    distributions = importlib.metadata.packages_distributions()
    wanted = {name.lower().replace("_", "-") for module in strangers for name in distributions[module]}
    assert wanted <= set(locked((ROOT / "requirements-gateway.txt").read_text()))


def test_the_image_installs_what_was_tested_and_no_more() -> None:
    everything = locked((ROOT / "requirements.txt").read_text())
    ours = locked((ROOT / "requirements-gateway.txt").read_text())
    assert ours.items() <= everything.items()
    assert not {"pytest", "docker", "rich", "supervisor", "psycopg", "xllamacpp"} & set(ours)
    assert gateway_requirements(ROOT) == (ROOT / "requirements-gateway.txt").read_text()


def test_a_package_that_is_not_locked_or_not_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[dependency-groups]\ngateway = ["uvicorn"]\n')
    (tmp_path / "requirements.txt").write_text("uvicorn==1 \\\n    --hash=sha256:0\n")
    with pytest.raises(HarnessError, match="does not lock click, h11"):
        gateway_requirements(tmp_path)
    with pytest.raises(HarnessError, match="no-such-package is not installed"):
        closure(["no-such-package"])


def test_an_image_is_known_by_the_digest_of_its_own_repository() -> None:
    reference = Reference("127.0.0.1:5000", "chat/gateway")
    other = {"RepoDigests": ["127.0.0.1:5000/chat/gateway-old@sha256:1", "elsewhere/chat/gateway@sha256:2"]}
    assert digest_of(other, reference) == ""
    assert (
        digest_of({"RepoDigests": [*other["RepoDigests"], reference.at("sha256:3")]}, reference)
        == "sha256:3"
    )
    assert digest_of({"RepoDigests": None}, reference) == ""
    assert reference.tagged("gateway@0123456789ab") == "127.0.0.1:5000/chat/gateway:0123456789ab"
    assert reference.on_loopback and not Reference("registry.chat.example", "chat/gateway").on_loopback
