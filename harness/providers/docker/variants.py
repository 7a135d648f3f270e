"""Other images of the same release, for drills: one that is as good, and one that ends when it starts."""

from __future__ import annotations

import io

import docker
from docker.errors import BuildError, DockerException

from harness.errors import DeployError
from harness.providers.docker.image import BuiltImage, Reference, push

__all__ = ["BAD", "GOOD", "push_variant"]

GOOD = 'LABEL harness.drill="another image of the same release"\n'
BAD = 'CMD ["python", "-c", "raise SystemExit(\'this image ends on purpose: it is for a drill\')"]\n'


def push_variant(client: docker.DockerClient, reference: Reference, digest: str, change: str) -> str:
    """Build the image ``digest`` with ``change`` (a line of a Dockerfile) and push it; its digest.

    Raises:
        DeployError: when it cannot be built or pushed.
    """
    text = f"FROM {reference.at(digest)}\n{change}"
    try:
        image, _ = client.images.build(fileobj=io.BytesIO(text.encode()), rm=True, forcerm=True)
    except (BuildError, DockerException) as error:
        raise DeployError("gateway", f"an image for a drill cannot be built: {error}") from error
    name = "bad" if change == BAD else "good"
    return push(client, BuiltImage(str(image.id), f"drill@drill-{name}"), reference)
