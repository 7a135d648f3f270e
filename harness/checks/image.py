"""Is the gateway's container image this release, does it start, is it free of secrets, is it held tight?"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from harness.checks.base import check
from harness.checks.gateway_target import observed_gateway
from harness.checks.leaks import Hit, Needles, declared_secrets
from harness.checks.secret_scanner import Scanner, Suspicion
from harness.environment.gateway import DockerGateway
from harness.errors import HarnessError, NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.stack import Stack

__all__ = [
    "ExportsImage",
    "Image",
    "Leak",
    "confined",
    "describe",
    "described",
    "scan",
    "secret_free",
    "starts",
]

_VERSION = "org.opencontainers.image.version"
_MEBIBYTE = 1 << 20


@runtime_checkable
class ExportsImage(Protocol):
    """A provider of the gateway that runs it from an image."""

    def image_archive(self) -> Path:
        """The deployed image as `docker save` writes it."""
        ...

    def trial(self) -> Mapping[str, int | str]:
        """Start the image beside the deployed one, with its settings: path: status, or what went wrong."""
        ...


@runtime_checkable
class Confines(Protocol):
    """A provider of the gateway that can tell how its containers are held."""

    def confinement(self) -> Mapping[str, Mapping[str, Any]]:
        """Machine: `user`, `wrote` (what it could write to its root), `read_only`, `privileged`, …"""
        ...


@check("gateway.image.described", component="gateway")
def described(stack: Stack) -> Evidence:
    """The image says that it is this release, has the declared user and size, and a health check."""
    image = describe(_exporter(stack).image_archive())
    findings = list(_faults(image, observed_gateway(stack).release))
    declared = stack.environment.gateway
    if isinstance(declared, DockerGateway):
        findings += _beyond(image, declared)
    size = round(image.bytes / _MEBIBYTE)
    summary = f"{image.name}: {image.labels.get(_VERSION)}, user {image.user}, {size} MiB"
    return judge(summary, findings, mib=size, labels=dict(image.labels))


@check("gateway.container.confined", component="gateway")
def confined(stack: Stack) -> Evidence:
    """Every gateway runs as the declared user, can write nowhere in its image, can gain no privilege."""
    provider, declared = stack.provider("gateway"), stack.environment.gateway
    if not isinstance(provider, Confines) or not isinstance(declared, DockerGateway):
        raise NoProvider("nothing holds the gateway of this environment in containers")
    held = provider.confinement()
    findings = [fault for name, seen in held.items() for fault in _loose(name, seen, declared.user)]
    return judge(f"{len(held)} containers: user {declared.user}, read-only, without capabilities", findings)


@check("gateway.image.starts", component="gateway")
def starts(stack: Stack) -> Evidence:
    """The image, started with this environment's settings, is alive and ready."""
    seen = _exporter(stack).trial()
    findings = [
        Finding(f"200 from {path}", str(status), f"gateway image: {path}", "read the container's log")
        for path in ("/health/live", "/health/ready")
        if (status := seen.get(path, "no answer")) != 200
    ]
    return judge("a container of this image is alive and ready", findings, seen=dict(seen))


@check("gateway.image.secrets", component="gateway", within=300.0)
def secret_free(stack: Stack) -> Evidence:
    """No layer, variable, label or history line of the image holds a secret of this environment."""
    archive = _exporter(stack).image_archive()
    values = declared_secrets(stack)
    leaks = list(scan(archive, Needles(values), Scanner(stack.root / ".harness" / "cache")))
    summary = (
        f"{len(values)} secrets of ours, and the forms of all others, looked for in {archive.name}: none"
    )
    return judge(summary, [_finding(x) for x in leaks])


def _exporter(stack: Stack) -> ExportsImage:
    provider = stack.provider("gateway")
    if not isinstance(provider, ExportsImage):
        raise NoProvider("nothing runs the gateway of this environment from an image")
    return provider


# --- reading an image ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """What an image says about itself."""

    name: str
    user: str
    labels: Mapping[str, str]
    has_health_check: bool
    layers: tuple[str, ...]
    bytes: int = 0
    """Size of the layers, unpacked."""


@dataclass(frozen=True)
class Leak:
    """A secret in an image: in which part (a layer and the file in it, the history, a variable)."""

    hit: Hit | Suspicion
    part: str


def describe(archive: Path) -> Image:
    """What the image in the `docker save` archive says about itself.

    Raises:
        HarnessError: when it is no such archive, or holds more or less than one image.
    """
    with _opened(archive) as tar:
        entry, config = _manifest(tar)
        settings = config.get("config") or {}
        return Image(
            name=", ".join(entry.get("RepoTags") or ["without a tag"]),
            user=str(settings.get("User") or ""),
            labels=dict(settings.get("Labels") or {}),
            has_health_check=bool((settings.get("Healthcheck") or {}).get("Test")),
            layers=tuple(entry["Layers"]),
            bytes=sum(tar.getmember(name).size for name in entry["Layers"]),
        )


class Searches(Protocol):
    """Looks for secrets in what an image holds."""

    def in_text(self, text: str) -> Iterable[Hit | Suspicion]:
        """Every hit in a line of the image's configuration."""
        ...

    def in_file(self, content: IO[bytes], name: str) -> Iterable[Hit | Suspicion]:
        """Every hit in a file of a layer."""
        ...


def scan(archive: Path, needles: Needles, *others: Searches) -> Iterator[Leak]:
    """Every hit in the archive's configuration, its history and every file of every layer.

    A file that a later layer deletes is still in the image, and is found.

    Raises:
        HarnessError: when it is no `docker save` archive.
    """
    searches: tuple[Searches, ...] = (_Known(needles), *others)
    with _opened(archive) as tar:
        entry, config = _manifest(tar)
        for search in searches:
            yield from _in_config(config, search)
        for number, name in enumerate(entry["Layers"], start=1):
            member = tar.extractfile(name)
            if member is None:
                raise HarnessError(f"{archive.name}: the layer {name} is missing")
            for leak in _in_layer(member, searches):
                yield Leak(leak.hit, f"layer {number} of {len(entry['Layers'])}: {leak.part}")


class _Known:
    """Looks for the values of secrets that we know."""

    def __init__(self, needles: Needles) -> None:
        self._needles = needles

    def in_text(self, text: str) -> Iterable[Hit]:
        return self._needles.in_text(text)

    def in_file(self, content: IO[bytes], name: str) -> Iterator[Hit]:
        """Hits in a file, and in what it holds if it is compressed with gzip."""
        start = content.read(2)
        content.seek(0)
        yield from self._needles.in_stream(content)
        if start == b"\x1f\x8b":
            content.seek(0)
            try:
                with gzip.open(content) as inside:
                    yield from self._needles.in_stream(io.BufferedReader(inside))
            except (OSError, EOFError):
                return  # it only began like gzip; as it stands, it was searched


def _in_config(config: Mapping[str, Any], search: Searches) -> Iterator[Leak]:
    settings = config.get("config") or {}
    for variable in settings.get("Env") or []:
        name = str(variable).partition("=")[0]
        yield from (Leak(hit, f"variable {name}") for hit in search.in_text(str(variable)))
    for label, value in (settings.get("Labels") or {}).items():
        yield from (Leak(hit, f"label {label}") for hit in search.in_text(f"{label}={value}"))
    for number, step in enumerate(config.get("history") or [], start=1):
        text = "\n".join(str(value) for value in step.values())  # as it was typed: JSON would escape it
        yield from (Leak(hit, f"history line {number}") for hit in search.in_text(text))
    rest = {key: value for key, value in settings.items() if key not in ("Env", "Labels")}
    yield from (Leak(hit, "configuration") for hit in search.in_text(json.dumps(rest)))


def _in_layer(layer: IO[bytes], searches: Sequence[Searches]) -> Iterator[Leak]:
    # "r:*" needs to seek, which a member of a tar can; it undoes gzip, bzip2 and xz
    try:
        with tarfile.open(fileobj=layer, mode="r:*") as files:
            for entry in files:
                content = files.extractfile(entry) if entry.isfile() else None
                for text in (entry.name, entry.linkname):
                    yield from (Leak(hit, "the name of a file") for hit in searches[0].in_text(text))
                if content is None:
                    continue
                for search in searches:
                    content.seek(0)
                    yield from (Leak(hit, entry.name) for hit in search.in_file(content, entry.name))
    except tarfile.TarError as error:
        raise HarnessError(f"a layer that cannot be read cannot be searched: {error}") from error


def _opened(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive)
    except (OSError, tarfile.TarError) as error:
        raise HarnessError(f"{archive}: not an image archive: {error}") from error


def _manifest(tar: tarfile.TarFile) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        manifest = json.loads(_read(tar, "manifest.json"))
        (entry,) = manifest
        return entry, json.loads(_read(tar, entry["Config"]))
    except (KeyError, ValueError, TypeError) as error:
        raise HarnessError(f"{tar.name!s}: not the archive of one image: {error}") from error


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(name)
    return member.read(16 * _MEBIBYTE)


def _faults(image: Image, release: str) -> Iterator[Finding]:
    where = f"image {image.name}"
    if image.labels.get(_VERSION) != release:
        observed = image.labels.get(_VERSION, "no such label")
        yield Finding(f"{_VERSION}: {release}", observed, where, "build it from this release's sources")
    if image.user.partition(":")[0] in ("", "0", "root"):
        yield Finding("an unprivileged user", image.user or "root", where, "USER in the Dockerfile")
    if not image.has_health_check:
        yield Finding("a health check", "none", where, "HEALTHCHECK in the Dockerfile")


def _beyond(image: Image, declared: DockerGateway) -> Iterator[Finding]:
    """What the image has beyond what is declared."""
    where = f"image {image.name}"
    if image.user != declared.user:
        yield Finding(f"user {declared.user}", image.user or "root", where, "USER in the Dockerfile")
    largest = declared.largest_image_mib
    if image.bytes > largest * _MEBIBYTE:
        observed = f"{image.bytes / _MEBIBYTE:.0f} MiB in {len(image.layers)} layers"
        remedy = "leave build tools in an earlier stage of the Dockerfile; `docker history` names the layer"
        yield Finding(f"at most {largest} MiB unpacked", observed, where, remedy)


def _loose(machine: str, seen: Mapping[str, Any], user: str) -> Iterator[Finding]:
    """How a container is held less tightly than it must be."""
    where = f"the gateway's container on {machine}"
    wanted = {"user": user, "wrote": "", "read_only": True, "privileged": False, "capabilities": []}
    wanted |= {"gains_privileges": False, "mounts": []}
    for name, value in wanted.items():
        if seen.get(name) != value:
            observed = f"{name}: {seen.get(name, 'not known')!r}"
            yield Finding(f"{name}: {value!r}", observed, where, "deploy the gateway again")


def _finding(leak: Leak) -> Finding:
    expected, observed = f"nothing of {leak.hit.name}", f"{leak.hit} is there"
    remedy = "mount it when the container starts; then change the secret, for the image was pushed"
    return Finding(expected, observed, f"gateway image: {leak.part}", remedy)
