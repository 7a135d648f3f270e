"""Supabase on this machine: embedded (PostgreSQL and PostgREST as programs), or the CLI's containers."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from harness.environment.supabase import LocalSupabase as Settings
from harness.errors import DeployError
from harness.providers.backup import kept_backup
from harness.providers.base import Deployment, Plan, Progress
from harness.providers.database import WHOLE, Monitor, answering
from harness.providers.local.containers import ContainerStack
from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.local.processes import LocalProcesses
from harness.providers.local.rest import DataApi
from harness.providers.schema import Schema
from harness.providers.selfhosted.bootstrap import (
    SUPERUSER,
    baseline_digest,
    bootstrap,
    bootstrapped,
    logs_in,
    scratch_database,
    set_passwords,
)
from harness.providers.supabase_cli import SupabaseCli
from harness.secrets import Secret
from harness.stack import Stack

__all__ = ["LocalSupabase"]


class LocalSupabase:
    """Implements :class:`harness.providers.base.ComponentProvider`, and what database checks need."""

    component = "supabase"
    scope = WHOLE

    def __init__(self, stack: Stack, processes: LocalProcesses) -> None:
        self.stack, self.processes = stack, processes
        if not isinstance(stack.environment.supabase, Settings):
            raise TypeError("the environment does not declare a local Supabase")
        self.settings = stack.environment.supabase
        self.directory = stack.state / "supabase"
        self.cli = SupabaseCli(stack.root, self.directory / "cli")
        self.containers = ContainerStack(self.cli, stack.root / "supabase")
        stack.dsn_source = self.dsn

    # --- what checks use -------------------------------------------------------------------------

    @property
    def embedded(self) -> bool:
        """Whether the stack is the embedded one."""
        return self.settings.stack == "embedded"

    @property
    def source(self) -> Path:
        """The declaration: the directory `supabase/` of the repository."""
        return self.stack.root / "supabase"

    @property
    def server(self) -> EmbeddedPostgres:
        """The embedded server."""
        password = self.stack.secret("local:database_superuser_password")
        return EmbeddedPostgres(self.stack.state / "postgres", self.settings.database_port, password)

    def programs_directory(self) -> Path:
        """Where pg_dump and its like are, of the server's own major version."""
        return self.server.bin

    def dsn(self) -> str:
        """Connects as the role `postgres`; contains the password: never print it."""
        if not self.embedded:
            return self.containers.dsn(self.settings.database_port)
        password = self.stack.secret(self.settings.database_password)
        return self.server.dsn("postgres", password, "postgres")

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """An empty Supabase database of its own for as long as the block lasts; yields its DSN."""
        with scratch_database(self.dsn()) as dsn:
            yield dsn

    def backup(self, snapshot: str) -> Path:
        """Dump the database as of ``snapshot`` into the state directory; keeps the newest three."""
        directory = self.stack.state / "backups"
        return kept_backup(directory, self.programs_directory(), self.dsn(), snapshot)

    def restore_place(self) -> contextlib.AbstractContextManager[str]:
        """A database that a backup is restored into on trial, while the block lasts: its DSN."""
        return self.scratch()

    def monitors(self) -> Sequence[Monitor]:
        """The parts that can be asked whether they are healthy."""
        if not self.embedded:
            return answering(self.stack, {"Data API": f"{self.settings.api_url}/rest-admin/v1/ready"})
        admin = f"http://127.0.0.1:{self.settings.rest_admin_port}"
        urls = {
            "PostgREST is connected and knows the schema": f"{admin}/ready",
            "PostgREST lives": f"{admin}/live",
            "the Data API's front": f"{self.settings.api_url}/health",
        }
        return answering(self.stack, urls)

    # --- deploying -------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Compare the declared with the live state. Reads only."""
        return Plan(self.component, self._digest(), tuple(self._changes()))

    def deploy(self, progress: Progress) -> Deployment:
        """Bring the live state to the declared one; idempotent.

        Raises:
            DeployError: when it cannot; says at what and what to do.
        """
        started = time.monotonic()
        changes = self._deploy_embedded(progress) if self.embedded else self._deploy_containers(progress)
        return Deployment(self.component, self._digest(), tuple(changes), time.monotonic() - started)

    def _deploy_embedded(self, progress: Progress) -> list[str]:
        server, done = self.server, []
        if not server.initialised():
            progress("creating the database cluster")
            server.initialise()
            done.append("created the database cluster")
        if self.processes.apply(server.program(), progress):
            done.append("started postgres")
        self._require_superuser(server)
        if bootstrap(server):
            done.append("laid the Supabase baseline")
        done += self._log_in(server, {"postgres": self._password("postgres")})
        done += self._schema().apply(progress)
        done += self._log_in(server, {role: self._password(role) for role in ("authenticator", "gateway")})
        api = self._data_api()
        api.configure()
        for program in api.programs():
            if self.processes.apply(program, progress):
                done.append(f"started {program.name}")
        return done

    def _deploy_containers(self, progress: Progress) -> list[str]:
        self.containers.require_engine()
        done = []
        if not self.containers.running(self.dsn()):
            progress("supabase start")
            self.containers.start(self.stack.secret(self.settings.jwt_secret))
            done.append("started the CLI's stack")
        done += self._schema().apply(progress)
        with psycopg.connect(self.dsn()) as connection:
            done += self.containers.log_in(connection, "gateway", self._password("gateway"))
        return done

    def _require_superuser(self, server: EmbeddedPostgres) -> None:
        """The data and the secrets are of one make; when the secrets were removed, they are not."""
        if not logs_in(server, SUPERUSER, server.password):
            secret = self.stack.state / "secrets" / "database_superuser_password"
            raise DeployError(
                self.component,
                "the database was made with another superuser password than the one kept now",
                f"restore {secret}, or begin anew, without the data: stop the stack and remove"
                f" {server.directory}",
            )

    def _log_in(self, server: EmbeddedPostgres, passwords: dict[str, Secret]) -> list[str]:
        return [f"set the password of {role}" for role in set_passwords(server, passwords)]

    # --- inside ----------------------------------------------------------------------------------

    def _changes(self) -> list[str]:
        if not self.embedded:
            running = self.containers.running(self.dsn())
            return self._schema().changes() if running else ["supabase start", "apply every migration"]
        server = self.server
        if not server.initialised():
            return [
                "create the database cluster",
                "start postgres, postgrest, api",
                "apply every migration",
            ]
        if not self.processes.is_current(server.program()):
            return ["start postgres", "start postgrest and api, if they do not run"]
        return self._database_changes(server) + self._pending_programs()

    def _database_changes(self, server: EmbeddedPostgres) -> list[str]:
        if not logs_in(server, SUPERUSER, server.password):
            return ["nothing: the kept superuser password is not the database's"]
        if not bootstrapped(server):
            return ["lay the Supabase baseline"]
        if not logs_in(server, "postgres", self._password("postgres")):
            return ["set the password of postgres"]
        roles = ("authenticator", "gateway")
        unset = [role for role in roles if not logs_in(server, role, self._password(role))]
        return self._schema().changes() + [f"set the password of {role}" for role in unset]

    def _pending_programs(self) -> list[str]:
        programs = self._data_api().programs()
        return [f"start {program.name}" for program in programs if not self.processes.is_current(program)]

    def _password(self, role: str) -> Secret:
        references = {
            "postgres": self.settings.database_password,
            "gateway": self.stack.environment.gateway.database_password,
            "authenticator": "local:authenticator_password",
        }
        return self.stack.secret(references[role])

    def _schema(self) -> Schema:
        return Schema(self.source, self.dsn(), self.cli, self.settings.seed)

    def _data_api(self) -> DataApi:
        identities = self.stack.identities
        return DataApi(
            root=self.stack.root,
            directory=self.directory,
            port=self.settings.api_port,
            rest_port=self.settings.rest_port,
            admin_port=self.settings.rest_admin_port,
            database_port=self.settings.database_port,
            database="postgres",
            authenticator_password=self._password("authenticator"),
            jwt_secret=self.stack.secret(self.settings.jwt_secret),
            anon_key=identities.anon_key(),
            service_role_key=identities.service_role_key(),
        )

    def _digest(self) -> str:
        """What identifies the declared state; no secret goes into it."""
        parts = [self.settings.model_dump_json(), baseline_digest(), self._schema_digest()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _schema_digest(self) -> str:
        try:
            return Schema(self.source, "", self.cli, self.settings.seed).digest()
        except OSError as error:
            raise DeployError("supabase", f"cannot read {self.source}: {error}") from error
