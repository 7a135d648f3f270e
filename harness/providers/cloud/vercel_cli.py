"""The real Vercel CLI: pure argv builders, and a thin executor.

The token is never an argument: the CLI reads VERCEL_TOKEN from its environment. It is told team and project
the same way, keeps its own settings below the state directory, and so neither sees nor changes whoever is
logged in on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DeployError
from harness.secrets import Secret, redact

__all__ = ["VercelCli", "build", "deploy", "pull"]

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "NODE_EXTRA_CA_CERTS")
_SECONDS = 600.0
_TELLING = 12
"""Lines of its output that an error shows."""


def pull(target: str) -> list[str]:
    """Fetch the project's settings and the variables of ``target`` (preview, production) into .vercel/."""
    return ["pull", "--yes", f"--environment={target}"]


def build(target: str) -> list[str]:
    """Build for ``target`` into .vercel/output."""
    return ["build", "--yes", f"--target={target}"]


def deploy(target: str, meta: Mapping[str, str]) -> list[str]:
    """Upload .vercel/output as a deployment that serves nobody yet; JSON on standard output.

    ``meta`` is kept with the deployment, where all of the team can read it. For production, `--skip-domain`
    keeps the domains where they are.
    """
    production = ["--prod", "--skip-domain"] if target == "production" else []
    kept = [part for name, value in meta.items() for part in ("--meta", f"{name}={value}")]
    return ["deploy", "--prebuilt", *production, "--yes", "--no-wait", "--format=json", *kept]


@dataclass(frozen=True)
class VercelCli:
    """Runs the CLI of ``root`` (tools/vercel) for one project; ``state`` is where it keeps its settings."""

    root: Path
    state: Path
    api: str
    token: Secret
    team_id: str
    project_id: str

    @property
    def executable(self) -> Path:
        """Where `make vercel` puts it."""
        return self.root / "tools" / "vercel" / "node_modules" / ".bin" / "vercel"

    def require(self) -> None:
        """Do nothing when it is installed.

        Raises:
            DeployError: when it is not.
        """
        if not self.executable.exists():
            what = "the Vercel CLI is not installed (tools/vercel)"
            raise DeployError("web", what, "install it, once: make vercel")

    def run(
        self, argv: Sequence[str], folder: Path, log: Path, variables: Mapping[str, str] | None = None
    ) -> str:
        """Run ``argv`` in ``folder``; its standard output. What it says goes into ``log``, without secrets.

        ``variables``: for a build, which runs the code of packages and is given them instead of the token.

        Raises:
            DeployError: when it is not installed, fails, or takes longer than ten minutes.
        """
        self.require()
        command = [str(self.executable), *argv, "--api", self.api, "--cwd", str(folder)]
        command += ["--global-config", str(self.state), "--no-color"]
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=self._environment(
                    {"VERCEL_TOKEN": self.token.reveal()} if variables is None else variables
                ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
                umask=0o077,  # it writes the variables that it pulls into a file
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeployError("web", f"vercel {argv[0]}: {redact(str(error))}", f"read {log}") from None
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(redact(done.stderr + done.stdout), encoding="utf-8")
        if done.returncode:
            lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
            shown = "".join(f"\n    | {line}" for line in lines[-_TELLING:])
            raise DeployError("web", f"vercel {argv[0]} failed ({done.returncode}){shown}", f"read {log}")
        return done.stdout

    def deployed(self, argv: Sequence[str], folder: Path, log: Path) -> str:
        """Run a `deploy`; the id of the deployment.

        Raises:
            DeployError: as :meth:`run`, or when it does not say what it deployed.
        """
        said = self.run(argv, folder, log)
        try:
            return str(json.loads(said)["id"])
        except (ValueError, KeyError, TypeError):
            what = f"vercel deploy does not say what it deployed: {redact(said.strip())[-200:]!r}"
            raise DeployError("web", what, f"read {log}") from None

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        npm = {name: value for name, value in os.environ.items() if name.lower().startswith("npm_config_")}
        return {
            **kept,
            **npm,
            "CI": "1",
            "VERCEL_ORG_ID": self.team_id,
            "VERCEL_PROJECT_ID": self.project_id,
            "VERCEL_TELEMETRY_DISABLED": "1",
            "NEXT_TELEMETRY_DISABLED": "1",
            "NO_UPDATE_NOTIFIER": "1",
            **more,
        }
