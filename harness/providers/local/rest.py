"""The embedded Data API as programs: PostgREST, and a front like a hosted project's."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from harness.providers.base import Program
from harness.providers.selfhosted import data_api
from harness.providers.selfhosted.server import postgrest, postgrest_settings
from harness.secrets import Secret
from harness.trust import system_trust

__all__ = ["DataApi"]


@dataclass(frozen=True)
class DataApi:
    """Where the Data API is, and what it needs. ``directory`` keeps its configuration (mode 0600)."""

    root: Path
    directory: Path
    port: int
    rest_port: int
    admin_port: int
    database_port: int
    database: str
    authenticator_password: Secret
    jwt_secret: Secret
    anon_key: Secret
    service_role_key: Secret

    def configure(self) -> bool:
        """Write PostgREST's configuration; returns whether it changed."""
        path, text = self._configuration(), self._text()
        if path.exists() and path.read_text() == text:
            return False
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        part.rename(path)
        return True

    def programs(self) -> tuple[Program, Program]:
        """PostgREST (`postgrest`), then its front (`api`); :meth:`configure` first.

        Raises:
            DeployError: when PostgREST is not installed.
        """
        return self._postgrest(), self._front()

    def _postgrest(self) -> Program:
        return Program(
            name="postgrest",
            component="supabase",
            argv=[str(postgrest(self.root)), str(self._configuration())],
            ready=lambda: _answers(f"http://127.0.0.1:{self.admin_port}/ready"),
            env={"GHCRTS": "-N2"},
            cwd=self.directory,
            digest=hashlib.sha256(self._text().encode()).hexdigest(),
            port=self.rest_port,
            other_ports=(self.admin_port,),
        )

    def _front(self) -> Program:
        digests = ",".join(
            data_api.key_digest(key.reveal()) for key in (self.anon_key, self.service_role_key)
        )
        return Program(
            name="api",
            component="supabase",
            argv=[sys.executable, "-m", "harness.providers.selfhosted.data_api"],
            ready=lambda: _answers(f"http://127.0.0.1:{self.port}/health"),
            env={
                "DATA_API_PORT": str(self.port),
                "DATA_API_UPSTREAM": f"http://127.0.0.1:{self.rest_port}",
                "DATA_API_KEYS": digests,
                "PYTHONPATH": str(self.root),
            },
            cwd=self.directory,
            digest=hashlib.sha256(Path(data_api.__file__).read_bytes()).hexdigest(),
            port=self.port,
        )

    def _configuration(self) -> Path:
        return self.directory / "postgrest.conf"

    def _text(self) -> str:
        password = quote(self.authenticator_password.reveal(), safe="")
        database = f"127.0.0.1:{self.database_port}/{self.database}"
        return postgrest_settings(
            uri=f"postgresql://authenticator:{password}@{database}",
            secret=self.jwt_secret.reveal(),
            port=self.rest_port,
            admin_port=self.admin_port,
        )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, verify=system_trust(), trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
