"""The images of a rehearsal, made from Debian's packages by mmdebstrap: no image registry is needed.

One is what every machine starts from: systemd, ssh and packages. The other stands in for the base image
that the product's Dockerfile names, which only a registry has; where the real one is there, it is left
alone. Each is built once: it carries the digest of its recipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from harness.errors import HarnessError
from harness.rehearsal.engine import Say, find_program
from harness.rehearsal.machine_image import MACHINE_PACKAGES, MACHINE_SETUP

__all__ = [
    "BASE",
    "MACHINE_REPOSITORY",
    "RECIPE_LABEL",
    "Recipe",
    "base_recipe",
    "bootstrap",
    "ensure_images",
    "machine_recipe",
]

MACHINE_REPOSITORY = "harness-rehearsal-machine"
BASE = "python:3.11-slim"
"""What the product's Dockerfile is built on."""
RECIPE_LABEL = "harness.rehearsal.recipe"
_SUITE = "bookworm"
_BUILD_SECONDS = 900.0
_WORKSHOP = Path("/var/lib/chat-stack-harness/images")
"""Where root alone builds."""
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_OPTIONS = (
    "--variant=minbase",
    "--dpkgopt=force-unsafe-io",  # what a crash of this machine would lose is built again
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)


@dataclass(frozen=True)
class Recipe:
    """How an image is made. ``setup`` is a script that runs in it; ``changes`` are Dockerfile lines."""

    image: str
    packages: tuple[str, ...]
    setup: str
    changes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What identifies it."""
        parts = [_SUITE, _OPTIONS, self.packages, self.setup, self.changes]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def machine_recipe() -> Recipe:
    """What every machine starts from; its tag is its digest."""
    recipe = Recipe("", MACHINE_PACKAGES, MACHINE_SETUP)
    return Recipe(f"{MACHINE_REPOSITORY}:{recipe.digest}", recipe.packages, recipe.setup)


def base_recipe() -> Recipe:
    """What stands in for :data:`BASE`: Debian's Python, and the authorities that this machine trusts.

    A build's pip may go through whatever this machine goes through.
    """
    trusted = _CERTIFICATES.read_text() if _CERTIFICATES.exists() else ""
    setup = f"cat >/etc/ssl/certs/ca-certificates.crt <<'END'\n{trusted}END\n" if trusted else ""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    changes = (f"ENV PATH={path} LANG=C.UTF-8", 'CMD ["python3"]')
    return Recipe(BASE, ("ca-certificates", "python3", "python3-venv"), setup, changes)


def ensure_images(client: docker.DockerClient, say: Say) -> str:
    """See that both images are there; builds the one whose recipe has changed. The machines' image by name.

    Raises:
        HarnessError: when one cannot be built; with mmdebstrap's own words.
    """
    recipes = [machine_recipe(), base_recipe()]
    if all(_is_there(client, recipe) for recipe in recipes):
        return recipes[0].image
    with _workshop() as folder:
        missing = [recipe for recipe in recipes if not _is_there(client, recipe)]
        if missing:
            say(
                f"building {' and '.join(recipe.image for recipe in missing)} from Debian's packages (once)"
            )
            with ThreadPoolExecutor(len(missing)) as pool:
                list(pool.map(lambda recipe: _build(client, recipe, folder), missing))
            _forget_others(client, recipes[0].image)
    return recipes[0].image


@contextlib.contextmanager
def _workshop() -> Iterator[Path]:
    """An empty directory that one process at a time builds in; what one that was killed left is removed."""
    _WORKSHOP.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (_WORKSHOP / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = _WORKSHOP / "building"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _is_there(client: docker.DockerClient, recipe: Recipe) -> bool:
    try:
        image = client.images.get(recipe.image)
    except ImageNotFound:
        return False
    # one without the label is not ours: the real base image, say
    return bool(image.labels.get(RECIPE_LABEL, recipe.digest) == recipe.digest)


def _forget_others(client: docker.DockerClient, current: str) -> None:
    """Remove images of the machines' earlier recipes, but not one that a rehearsal still stands on."""
    for image in client.images.list(MACHINE_REPOSITORY):
        for name in image.tags:
            if name != current:
                with contextlib.suppress(APIError):  # 409: in use; 404: somebody was faster
                    client.images.remove(name)


def _build(client: docker.DockerClient, recipe: Recipe, folder: Path) -> None:
    """Into a file first: of a build that failed half-way, the engine gets nothing."""
    archive = bootstrap(recipe, folder / recipe.digest)
    repository, _, version = recipe.image.partition(":")
    changes = [*recipe.changes, f"LABEL {RECIPE_LABEL}={recipe.digest}"]
    client.api.import_image_from_file(str(archive), repository=repository, tag=version, changes=changes)


def bootstrap(recipe: Recipe, folder: Path) -> Path:
    """Make the file system that ``recipe`` describes, as a tar archive in ``folder``.

    mmdebstrap ends, and takes its own directory away, when this process is killed.

    Raises:
        HarnessError: with mmdebstrap's own words.
    """
    program = find_program("mmdebstrap")
    if program is None:
        raise HarnessError("there is no mmdebstrap on this machine (Debian: apt install mmdebstrap)")
    folder.mkdir()
    archive, script = folder / "image.tar", folder / "setup.sh"
    script.write_text(recipe.setup)
    hook = f'--customize-hook=chroot "$1" sh -eu <{shlex.quote(str(script))}'
    include = [f"--include={','.join(recipe.packages)}"] if recipe.packages else []
    argv = ["setpriv", "--pdeathsig", "TERM", program, "--quiet", *_OPTIONS, *include, hook]
    done = subprocess.run(
        [*argv, _SUITE, str(archive)],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
        cwd="/",
    )
    if done.returncode:
        said = done.stderr.strip()[-800:]
        raise HarnessError(f"{recipe.image}: mmdebstrap ended with {done.returncode}: {said}")
    return archive
