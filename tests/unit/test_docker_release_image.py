"""A release that names an image is deployed as exactly that image: no tag and no build takes its place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from docker.errors import NotFound

from harness.artefacts import IMAGE
from harness.environment.loader import load
from harness.errors import DeployError
from harness.providers.docker import image, provider, published
from harness.providers.docker.image import BuiltImage
from harness.providers.docker.provider import DockerGateway
from harness.release import Release
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.unit.environment_files import ROOT

TESTED, MOVED = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class Registry:
    """What an engine sees of a registry: its tags, and the digests that it keeps."""

    def __init__(self, gateway: DockerGateway) -> None:
        reference = gateway.site.reference
        self.tag = reference.tagged(gateway.release)
        self.held = {self.tag: MOVED, reference.at(MOVED): MOVED, reference.at(TESTED): TESTED}
        self.built: list[str] = []
        self.images = self

    def get_registry_data(self, name: str) -> Any:
        if name not in self.held:
            raise NotFound(f"manifest unknown: {name}")
        return mock.Mock(id=self.held[name])


@pytest.fixture
def gateway(tmp_path: Path) -> DockerGateway:
    environment = load("production", ROOT).environment
    return DockerGateway(Stack(ROOT, tmp_path, environment, SecretStore(ROOT, tmp_path)))


@pytest.fixture
def registry(gateway: DockerGateway, monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry(gateway)

    def build(*_: object) -> BuiltImage:
        made.built.append("once")
        return BuiltImage("sha256:id", gateway.release)

    @contextlib.contextmanager
    def engine() -> Iterator[Registry]:
        yield made

    monkeypatch.setattr(provider, "local_engine", engine)
    monkeypatch.setattr(published, "local_engine", engine)
    monkeypatch.setattr(image, "build", build)
    monkeypatch.setattr(image, "smoke_test", lambda *_: None)
    monkeypatch.setattr(image, "push", lambda *_: MOVED)
    return made


def named(gateway: DockerGateway, digest: str) -> None:
    stack = gateway._stack
    stack.release = replace(Release.build(ROOT), artefacts={IMAGE: digest})


def test_a_moved_tag_changes_nothing(gateway: DockerGateway, registry: Registry) -> None:
    named(gateway, TESTED)
    assert gateway.released() == TESTED
    assert gateway._image(lambda _: None) == (TESTED, [])
    assert not registry.built


def test_what_the_registry_lacks_is_refused_and_not_built(
    gateway: DockerGateway, registry: Registry
) -> None:
    named(gateway, TESTED)
    del registry.held[gateway.site.reference.at(TESTED)]
    with pytest.raises(DeployError, match="lacks the image that the release names") as refused:
        gateway._image(lambda _: None)
    assert TESTED in str(refused.value)
    with pytest.raises(DeployError, match=f"has no image of {TESTED}"):
        gateway.released()
    assert not registry.built


def test_a_release_without_an_image_is_built_from_its_sources(
    gateway: DockerGateway, registry: Registry
) -> None:
    assert gateway._image(lambda _: None) == (MOVED, [])
    del registry.held[registry.tag]
    digest, done = gateway._image(lambda _: None)
    assert (digest, done, registry.built) == (MOVED, [f"build {gateway.release}"], ["once"])
