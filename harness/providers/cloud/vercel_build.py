"""The web app built for Vercel on this machine: once for its sources and variables, kept until it serves.

Vercel builds nothing: what was tested is what is uploaded, and what is promoted is what was uploaded.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DeployError
from harness.providers import web_build
from harness.providers.base import Progress
from harness.providers.cloud import vercel_cli
from harness.providers.cloud.vercel_cli import VercelCli
from harness.providers.local.next_build import prune
from harness.stack import Stack

__all__ = ["VercelBuild"]

_FINISHED = ".built"


@dataclass(frozen=True)
class VercelBuild:
    """One build: a copy of the sources with .vercel/output in it. ``directory`` ends with its digest."""

    directory: Path
    logs: Path
    target: str

    @property
    def complete(self) -> bool:
        """Whether it was finished."""
        return (self.directory / _FINISHED).is_file()

    def make(self, stack: Stack, cli: VercelCli, progress: Progress) -> None:
        """Build, with the variables that the environment declares. Takes about a minute.

        They go before those that Vercel has, so what is compiled in is what is declared. What `pull`
        fetched of Vercel's variables is removed again: some are secrets.

        Raises:
            DeployError: when the CLI is not installed, or fails.
        """
        if self.complete:
            return
        cli.require()
        try:
            self._copy(stack.root / "web")
            progress("fetching the project's settings")
            cli.run(vercel_cli.pull(self.target), self.directory, self.logs / "web-vercel-pull.log")
            progress("building for Vercel")
            log = self.logs / "web-vercel-build.log"
            cli.run(vercel_cli.build(self.target), self.directory, log, web_build.declared(stack))
            (self.directory / _FINISHED).touch()
        except OSError as error:
            raise DeployError("web", f"the build cannot be kept: {error}", "free some space") from error
        finally:
            self._forget_variables()
        prune(self.directory.parent, self.directory, most=1)

    def upload(self, cli: VercelCli, meta: dict[str, str]) -> str:
        """Upload it as a deployment that serves nobody yet; its id.

        Raises:
            DeployError: when the CLI is not installed, or fails.
        """
        argv = vercel_cli.deploy(self.target, meta)
        return cli.deployed(argv, self.directory, self.logs / "web-vercel-deploy.log")

    def _copy(self, web: Path) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True, mode=0o700)
        for path in web_build.sources(web):
            copy = self.directory / path.relative_to(web)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)

    def _forget_variables(self) -> None:
        for path in (self.directory / ".vercel").glob(".env*"):
            path.unlink()
