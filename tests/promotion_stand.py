"""A checkout in whose store staging has passed a minute ago; the command line, run in it."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives import serialization

from harness.attestation.keys import Signer
from harness.attestation.statement import stamp
from harness.cli import main
from harness.environment.loader import load
from harness.promotion import Promotion
from harness.release import Release
from harness.store import DirectoryStore
from tests.attack.stand import DANA, IMAGE, PRODUCTION, REPORT, Stand

__all__ = ["PRODUCTION", "Deposit", "pem"]

BASE = "runs/staging/20260304T110000Z-abc"


def pem(path: Path, signer: Signer) -> Path:
    """The private key of ``signer`` in a file that nobody else can read."""
    private = signer._signer._private_key  # the tests own it
    path.touch(mode=0o600)
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


class Deposit:
    """The store of a checkout in which staging has passed a minute ago."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = DirectoryStore(root / ".harness" / "evidence")
        now = dt.datetime.now(dt.UTC)
        bare = replace(Stand.honest(root), now=now, evidence=None, approvals=[])
        self.stand = bare.ran(lambda payload: self.freshen(payload, now))
        self.keep(BASE, self.stand)

    @staticmethod
    def freshen(payload: dict[str, Any], now: dt.datetime) -> None:
        start, end = now - dt.timedelta(minutes=3), now - dt.timedelta(minutes=1)
        payload["predicate"].update(startedOn=stamp(start), finishedOn=stamp(end))

    def keep(self, base: str, stand: Stand) -> None:
        assert stand.evidence is not None
        self.store.put(f"{base}.intoto.json", stand.evidence.raw)
        self.store.put(f"{base}.html", REPORT)

    def approve(self) -> None:
        """dana approves what is there now."""
        promotion = self.promotion()
        decision = promotion.decide()
        now = dt.datetime.now(dt.UTC)
        raw = replace(self.stand, evidence=promotion.evidence).approval("dana", DANA, now)
        self.store.put(f"approvals/production/{decision.promotion}/dana.json", raw)

    def ran_in_production(
        self, run: str, change: Callable[[dict[str, Any]], None] = lambda payload: None, **more: Any
    ) -> None:
        """A run of production, signed by its key."""
        now = dt.datetime.now(dt.UTC)

        def made(payload: dict[str, Any]) -> None:
            self.freshen(payload, now)
            payload["predicate"].update(environment="production", run=run)
            change(payload)

        base = f"runs/production/{run}"
        self.keep(base, self.stand.ran(made, signers=[more.get("signer", PRODUCTION)]))
        release = more.get("release", self.stand.release)
        self.store.put(f"{base}.release.json", json.dumps(release.as_dict()).encode())
        text = more.get("environment", (self.root / "environments" / "production.yaml").read_text())
        self.store.put(f"{base}.environment.yaml", text.encode())

    def promotion(self, **more: Any) -> Promotion:
        environment = load("production", self.root).environment
        return Promotion(environment, self.root, self.store, Release.build(self.root, IMAGE), **more)

    def path(self, name: str) -> Path:
        return self.root / ".harness" / "evidence" / name

    def is_denied(self, told: str) -> None:
        reasons = "\n".join(map(str, self.promotion().decide().reasons))
        assert told in reasons, f"{told!r} is not in:\n{reasons}"

    def promotion_evidence(self) -> bytes:
        return self.store.get(f"{BASE}.intoto.json") or b""

    def harness(
        self, *arguments: str, typed: str = "", rooted: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in this checkout, in this process: it takes a second to load."""
        options = [] if not rooted else ["--root", str(self.root)]
        out, err, code = io.StringIO(), io.StringIO(), None
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.dict(os.environ, {"COLUMNS": "400", **env}),
            mock.patch.object(sys, "argv", ["harness", *arguments, *options]),
            mock.patch.object(sys, "stdin", io.StringIO(typed)),
        ):
            try:
                main()
            except SystemExit as end:
                code = end.code
        return subprocess.CompletedProcess(arguments, int(code or 0), out.getvalue(), err.getvalue())
