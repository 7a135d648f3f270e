"""schemathesis against the gateway's own OpenAPI document, in a virtual environment of its own.

    .venv/bin/python -m tests.gateway.fuzz [--examples N]

Not collected by pytest: it installs packages and takes a minute.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.selfhosted.bootstrap import bootstrap, set_passwords
from harness.secrets import Secret
from tests.gateway.conftest import PASSWORD
from tests.gateway.fake_engine import FakeEngine
from tests.gateway.stand import LEDGER, ROOT, Gateway, bearer, settings
from tests.pg_fixture import free_port

SCHEMATHESIS = "schemathesis==4.32.5"
HOME = ROOT / ".harness" / "fuzz-venv"


def program() -> str:
    """The schemathesis program; installed on first use."""
    if not (HOME / "bin" / "schemathesis").exists():
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True, timeout=120)
        install = [str(HOME / "bin" / "pip"), "install", "--quiet", SCHEMATHESIS]
        subprocess.run(install, check=True, timeout=600)
    return str(HOME / "bin" / "schemathesis")


def main() -> int:
    """Run it; the exit status is schemathesis's own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=100)
    options = parser.parse_args()
    fuzz = program()
    work = Path(tempfile.mkdtemp(prefix="gateway-fuzz-"))
    server = EmbeddedPostgres(work / "postgres", free_port(), Secret("superuser"), durable=False)
    engine = FakeEngine()
    engine.start()
    try:
        with server.running():
            bootstrap(server)
            set_passwords(server, {"postgres": Secret("postgres")})
            with psycopg.connect(server.dsn("postgres", Secret("postgres"))) as connection:
                for migration in LEDGER:
                    connection.execute(migration.read_bytes())
            set_passwords(server, {"gateway": Secret(PASSWORD)})
            url = f"postgresql://gateway:{PASSWORD}@127.0.0.1:{server.port}/postgres"
            gateway = Gateway(settings(url, engine.url, limit_user_tokens_per_day="2000000000"))
            try:
                return subprocess.run(
                    [
                        fuzz,
                        "run",
                        f"{gateway.url}/openapi.json",
                        "--header",
                        f"Authorization: {bearer()['Authorization']}",
                        "--checks",
                        "not_a_server_error,status_code_conformance,content_type_conformance,"
                        "response_schema_conformance",
                        "--max-examples",
                        str(options.examples),
                        "--exclude-path",
                        "/health/ready",
                    ],
                    cwd=work,
                    timeout=900,
                    check=False,
                ).returncode
            finally:
                gateway.stop()
    finally:
        engine.stop()
        server.destroy()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
