"""The gateway's image in the registry: built, tried and pushed where it has none."""

from __future__ import annotations

from pathlib import Path

from harness.environment.gateway import DockerGateway
from harness.providers.base import Progress
from harness.providers.docker import image
from harness.providers.docker.site import local_engine
from harness.providers.gateway_environment import source_release

__all__ = ["published"]


def published(root: Path, declared: DockerGateway, progress: Progress) -> tuple[str, list[str]]:
    """The digest of the image of the sources at ``root``, built and pushed when the registry has none; and
    what was done for it.

    Raises:
        DeployError: when it cannot be built, does not start, or the registry does not take it.
        HarnessError: when there is no Docker engine on this machine.
    """
    reference, release = image.Reference(declared.registry, declared.image), source_release(root)
    with local_engine() as client:
        digest = image.found(client, reference, release)
        if digest:
            return digest, []
        progress(f"building {release}")
        built = image.build(client, root)
        progress("trying the image")
        image.smoke_test(client, built, declared.user)
        progress(f"pushing to {reference.registry}")
        return image.push(client, built, reference), [f"build {release}"]
