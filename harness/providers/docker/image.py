"""The gateway's image: built from the declared files, tried before it is pushed, known by its digest."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, BuildError, DockerException, NotFound
from docker.models.containers import Container

from harness.errors import DeadlineExceeded, DeployError
from harness.provenance import git_environ, revision
from harness.providers.gateway_environment import image_sources, source_release
from harness.redaction import redact
from harness.waiting import wait_until

__all__ = [
    "HARDENED",
    "BuiltImage",
    "Reference",
    "ask",
    "build",
    "context",
    "created",
    "digest_of",
    "found",
    "kept",
    "push",
    "smoke_test",
]

LABEL = "org.opencontainers.image.version"
HARDENED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "size=16m,mode=1777"},  # noqa: S108 - the container's own
    "pids_limit": 256,
}
"""How every container of the gateway runs: it can write nowhere but to /tmp, and gain nothing."""
_EPOCH = 0
_SMOKE_SECONDS = 20.0
_HEALTH = ("/health/live", "/health/ready")
_ASK = """\
import http.client, json, os, sys
seen = {}
for path in sys.argv[1:]:
    ask = http.client.HTTPConnection("127.0.0.1", int(os.environ["GATEWAY_PORT"]), timeout=15)
    try:
        ask.request("GET", path, headers={"Host": os.environ["GATEWAY_ALLOWED_HOSTS"].split(",")[0]})
        answer = ask.getresponse()
        seen[path] = answer.status
        seen["release"] = answer.headers.get("x-gateway-release", "")
    except Exception as error:
        seen[path] = f"{type(error).__name__}: {error}"
json.dump(seen, sys.stdout)
"""


@dataclass(frozen=True)
class Reference:
    """Where an image is kept: a registry (`HOST[:PORT]`) and a repository in it."""

    registry: str
    repository: str

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    def tagged(self, release: str) -> str:
        """The name under which the image of ``release`` is pushed."""
        return f"{self.name}:{release.partition('@')[2]}"

    def at(self, digest: str) -> str:
        """The name that only one image can have."""
        return f"{self.name}@{digest}"

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the registry by its name."""
        return self.registry.partition(":")[0] in ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class BuiltImage:
    """An image in the engine of this machine."""

    id: str
    release: str


def context(root: Path) -> bytes:
    """What the build is given, as a tar archive: the declared files and the Dockerfile, and nothing else.

    The same files make the same bytes, whatever their owners, times and the rest of the folder are.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in image_sources(root):
            content = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(root).as_posix())
            entry.size, entry.mode, entry.mtime = len(content), 0o644, _EPOCH
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def created(root: Path) -> str:
    """When the sources were last changed (RFC 3339, UTC): their last commit's time, not the build's.

    1970 outside a repository: a made-up time would make every build another image.
    """
    names = sorted({path.relative_to(root).parts[0] for path in image_sources(root)})
    argv = ["git", "-C", str(root), "log", "-1", "--format=%ct", "--", *names]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=5, check=False, env=git_environ()
        )
        seconds = int(done.stdout.strip() or _EPOCH)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        seconds = _EPOCH
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def build(client: docker.DockerClient, root: Path, extra: Mapping[str, str] | None = None) -> BuiltImage:
    """Build the image of the sources at ``root``; ``extra`` are more labels.

    Raises:
        DeployError: with the last lines of the build's output.
    """
    release = source_release(root)
    arguments = {"RELEASE": release, "REVISION": revision(root) or "unknown", "CREATED": created(root)}
    try:
        image, _ = client.images.build(
            fileobj=io.BytesIO(context(root)),
            custom_context=True,
            buildargs=arguments,
            labels=dict(extra or {}),
            rm=True,
            forcerm=True,
            timeout=600,
        )
    except BuildError as error:
        said = "".join(str(line.get("stream") or line.get("error") or "") for line in error.build_log)
        raise DeployError("gateway", f"the image cannot be built: {_last(said) or error}") from error
    except (APIError, DockerException) as error:
        raise DeployError("gateway", f"the image cannot be built: {error}", _HINT) from error
    return BuiltImage(str(image.id), release)


_HINT = "is the base image there, and does the engine of this machine reach the package registry?"


def smoke_test(client: docker.DockerClient, image: BuiltImage, user: str) -> None:
    """Start the image as it will run, without a network: it must be alive, and say that it is not ready.

    Raises:
        DeployError: with what it answered and its last log lines.
    """
    container = client.containers.create(
        image.id, environment=_throwaway(image.release), network_mode="none", user=user, **HARDENED
    )
    try:
        container.start()
        seen = _asked(container)
        wanted = {"/health/live": 200, "/health/ready": 503, "release": image.release}
        if seen != wanted:
            said = _last(container.logs(tail=5).decode("utf-8", "replace"))
            raise DeployError("gateway", f"the image does not start as it should: {seen}; {said}")
    finally:
        container.remove(force=True, v=True)


def ask(container: Container, paths: Sequence[str]) -> dict[str, int | str]:
    """Path: status (or what went wrong), asked from inside ``container``; and the `release` that answered.

    Empty when it does not run.
    """
    try:
        status, output = container.exec_run(["python", "-c", _ASK, *paths])
        return dict(json.loads(output)) if status == 0 and isinstance(output, bytes) else {}
    except (APIError, ValueError):
        return {}


def push(client: docker.DockerClient, image: BuiltImage, reference: Reference) -> str:
    """Push the image under its release's tag; its digest in the registry.

    Raises:
        DeployError: when the registry does not take it.
    """
    name = reference.tagged(image.release)
    try:
        kept = client.images.get(image.id)
        kept.tag(name)
        _heard(client.images.push(name, stream=True, decode=True))
        digest = digest_of(client.images.get(image.id).attrs, reference)
    except (APIError, DockerException) as error:
        raise DeployError("gateway", f"{reference.registry} does not take the image: {error}") from error
    if not digest:
        raise DeployError("gateway", f"{reference.registry} took the image without naming its digest")
    return digest


def found(client: docker.DockerClient, reference: Reference, release: str) -> str:
    """The digest of the image that is tagged as ``release`` in the registry; nothing when there is none.

    Raises:
        DeployError: when the registry does not answer.
    """
    return _in_registry(client, reference, reference.tagged(release))


def kept(client: docker.DockerClient, reference: Reference, digest: str) -> str:
    """``digest``, when the registry has exactly that image, whatever its tags say; nothing when it has not.

    Raises:
        DeployError: when the registry does not answer.
    """
    return _in_registry(client, reference, reference.at(digest))


def _in_registry(client: docker.DockerClient, reference: Reference, name: str) -> str:
    try:
        return str(client.images.get_registry_data(name).id)
    except NotFound:
        return ""
    except (APIError, DockerException) as error:
        if "manifest unknown" in str(error) or "not found" in str(error):
            return ""
        hint = "is it running, and did you log in (docker login)?"
        raise DeployError("gateway", f"the registry {reference.registry}: {error}", hint) from error


def digest_of(attributes: Mapping[str, Any], reference: Reference) -> str:
    """The digest by which the repository knows an image (`docker inspect`); nothing when it does not."""
    digests = attributes.get("RepoDigests") or []
    own = [text.partition("@")[2] for text in digests if text.partition("@")[0] == reference.name]
    return sorted(own)[0] if own else ""


def _heard(stream: Iterable[Mapping[str, Any]]) -> None:
    """Docker reports the failure of a push inside its answer."""
    for line in stream:
        if problem := line.get("error"):
            raise DockerException(str(problem))


def _asked(container: Container) -> dict[str, int | str]:
    """What it answers once it is alive, or last."""
    seen: dict[str, int | str] = {}

    def probe() -> bool:
        nonlocal seen
        container.reload()
        seen = ask(container, _HEALTH) if container.status == "running" else {}
        return seen.get("/health/live") == 200 or container.status == "exited"

    try:
        wait_until("the image to start", probe, seconds=_SMOKE_SECONDS)
    except DeadlineExceeded:
        return seen
    return seen


def _throwaway(release: str) -> dict[str, str]:
    """Settings that the gateway accepts and that lead nowhere."""
    keys = {f"GATEWAY_{name}": secrets.token_hex(24) for name in ("JWT_SECRET", "METRICS_TOKEN")}
    for engine in ("INSTANT", "THINKING"):
        keys |= {
            f"GATEWAY_{engine}_URL": "http://127.0.0.1:9",
            f"GATEWAY_{engine}_MODEL": "none",
            f"GATEWAY_{engine}_KEY": secrets.token_hex(24),
        }
    limits = ("REQUEST_TOKENS", "USER_TOKENS_PER_DAY", "USER_CONCURRENCY", "THINKING_TOKENS_PER_DAY")
    return {
        **keys,
        **{f"GATEWAY_LIMIT_{name}": "1" for name in limits},
        "GATEWAY_ENVIRONMENT": "smoke-test",
        "GATEWAY_RELEASE": release,
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": "8000",
        "GATEWAY_LOG_LEVEL": "info",
        "GATEWAY_DATABASE_URL": "postgresql://gateway:nowhere@127.0.0.1:9/postgres?sslmode=require",
        "GATEWAY_JWT_ISSUER": "https://nowhere.invalid/auth/v1",
        "GATEWAY_JWT_AUDIENCE": "authenticated",
        "GATEWAY_ALLOWED_HOSTS": "127.0.0.1",
        "GATEWAY_ALLOWED_ORIGINS": "https://nowhere.invalid",
    }


def _last(text: str) -> str:
    return redact(" | ".join(text.strip().splitlines()[-4:]))[-600:]
