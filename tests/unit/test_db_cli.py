"""What the Supabase CLI is told, and what it is never told."""

from __future__ import annotations

import gc
import stat
import tomllib
from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.providers import supabase_cli as cli
from harness.providers.local.containers import ContainerStack, with_jwt_secret
from harness.secrets import Secret
from tests.pg_fixture import ROOT

DSN = "host=127.0.0.1 port=5999 user=postgres password='pass:word\\\\x' dbname=postgres"
TARGET = cli.Target.from_dsn(DSN)
URL = "--remote=postgresql://postgres@127.0.0.1:5999/postgres?sslmode=disable"


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (cli.push(TARGET), ["db", "push", URL, "--skip-vault", "--yes"]),
        (cli.push(TARGET, dry_run=True), ["db", "push", URL, "--skip-vault", "--dry-run"]),
        (
            cli.advisors(TARGET),
            [
                "db",
                "advisors",
                URL,
                "--type",
                "security",
                "--level",
                "info",
                "--fail-on",
                "warn",
                "-o",
                "json",
            ],
        ),
        (cli.migration_new("add_tags"), ["migration", "new", "add_tags"]),
        (cli.start(("realtime", "vector")), ["start", "--yes", "--exclude", "realtime,vector"]),
        (cli.start(()), ["start", "--yes"]),
        (cli.stop(), ["stop"]),
    ],
)
def test_commands(argv: list[str], wanted: list[str]) -> None:
    assert argv == wanted


def test_no_password_in_the_url_and_tls_beyond_loopback() -> None:
    assert "pass" not in TARGET.url
    assert TARGET.passfile_line == "127.0.0.1:5999:postgres:postgres:pass\\:word\\\\x\n"
    remote = cli.Target.from_dsn("host=db.example.test user=postgres password=secret-1 dbname=postgres")
    assert remote.url == "postgresql://postgres@db.example.test:5432/postgres?sslmode=verify-full"


def test_it_works_in_a_copy_with_a_home_of_its_own(tmp_path: Path) -> None:
    tool = cli.SupabaseCli(ROOT, tmp_path)
    with tool.project() as project, tool._environment(TARGET) as environment:
        assert (project / "supabase" / "config.toml").exists()
        assert tmp_path in project.parents
        assert Path(environment["HOME"]).parent == tmp_path
        passfile = Path(environment["PGPASSFILE"])
        assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
        assert "pass:word" not in " ".join(environment.values())
    assert not passfile.exists()
    assert not project.exists()


def test_a_missing_cli_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="what to do: make setup"):
        cli.SupabaseCli(tmp_path, tmp_path).run(["db", "push"], tmp_path)


# the Docker client forgets to close the socket that it could not connect
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_a_docker_engine_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(DeployError) as caught:
        ContainerStack.require_engine()
    text = str(caught.value)
    assert "no Docker engine answers at unix:///nonexistent/docker.sock" in text
    assert "stack: embedded" in text
    del caught
    gc.collect()


def test_the_jwt_secret_goes_into_the_copy_of_the_configuration() -> None:
    text = (ROOT / "supabase" / "config.toml").read_text()
    made = tomllib.loads(with_jwt_secret(text, Secret("a-secret-of-this-environment")))
    assert made["auth"]["jwt_secret"] == "a-secret-of-this-environment"
    assert made["auth"]["site_url"] == "http://localhost:3000"
    with pytest.raises(DeployError, match="no table"):
        with_jwt_secret("[api]\n", Secret("a-secret-of-this-environment"))


def test_the_configuration_lists_the_auth_callback() -> None:
    made = tomllib.loads((ROOT / "supabase" / "config.toml").read_text())
    callback = f"{made['auth']['site_url']}/auth/callback"
    assert callback in made["auth"]["additional_redirect_urls"]
