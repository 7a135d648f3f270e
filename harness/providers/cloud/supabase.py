"""A hosted Supabase project: migrated through its pooler by the Supabase CLI, watched by its own API.

The platform runs the servers; what is deployed is the schema and the gateway's login. What must be tried in
a database of its own is tried on this machine (:mod:`harness.providers.cloud.trial_server`).
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import psycopg

from harness.database.declaration import load
from harness.environment.supabase import CloudSupabase as Settings
from harness.errors import DeadlineExceeded, DeployError
from harness.providers.backup import kept_backup
from harness.providers.base import Deployment, Plan, Progress
from harness.providers.cloud.project import SCOPE, HostedServer
from harness.providers.cloud.trial_server import TrialServer
from harness.providers.database import Monitor
from harness.providers.local import postgres_binaries
from harness.providers.local.containers import ContainerStack
from harness.providers.schema import Schema
from harness.providers.supabase_cli import SupabaseCli
from harness.providers.supabase_management import ManagementApi, Service, management_api
from harness.secrets import Secret
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["SERVICES", "CloudSupabase"]

_HEALTHY = "ACTIVE_HEALTHY"
SERVICES = ("db", "pooler", "rest", "auth", "storage")
"""The parts of a project that the stack needs."""
_KNOWN_SECONDS = 60.0  # until pooler and Data API know what was changed
_NEEDED_EXTENSIONS = """
select distinct e.extname, n.nspname
from pg_depend used
join pg_depend member on (member.classid, member.objid) = (used.refclassid, used.refobjid)
  and member.deptype = 'e'
join pg_extension e on e.oid = member.refobjid
join pg_namespace n on n.oid = e.extnamespace
where used.deptype in ('n', 'a') and n.nspname <> 'pg_catalog'
  and not exists (select from pg_depend o where (o.classid, o.objid) = (used.classid, used.objid)
                  and o.deptype = 'e')
order by 1
"""


class CloudSupabase:
    """Implements :class:`harness.providers.base.ComponentProvider`, and what database checks need."""

    component = "supabase"
    scope = SCOPE

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        if not isinstance(stack.environment.supabase, Settings):
            raise TypeError("the environment does not declare a hosted project")
        self.settings = stack.environment.supabase
        self.cli = SupabaseCli(stack.root, stack.state / "supabase" / "cli")
        self.trials = TrialServer(stack.state / "trial-postgres")
        stack.dsn_source = self.dsn
        stack.on_close(self.trials.close)

    # --- what checks use -------------------------------------------------------------------------

    @property
    def source(self) -> Path:
        """The declaration: the directory `supabase/` of the repository."""
        return self.stack.root / "supabase"

    @property
    def api(self) -> ManagementApi:
        """The project's Management API."""
        return management_api(self.stack)

    @property
    def server(self) -> HostedServer:
        """The project's database, through the pooler or directly."""
        password = self.stack.secret(self.settings.database_password)
        return HostedServer(self.settings, self.stack.root, password)

    def programs_directory(self) -> Path:
        """Where pg_dump and its like are on this machine, of the project's major version."""
        return postgres_binaries.directory(shared=False)

    def dsn(self) -> str:
        """Connects as the role `postgres`; contains the password: never print it."""
        return self.server.dsn()

    def scratch(self) -> contextlib.AbstractContextManager[str]:
        """An empty Supabase database on this machine for as long as the block lasts; yields its DSN."""
        return self.trials.baseline()

    @contextlib.contextmanager
    def restore_place(self) -> Iterator[str]:
        """An empty database on this machine with the project's roles and extensions; yields its DSN."""
        with psycopg.connect(self.dsn()) as live:
            roles = live.execute("select rolname from pg_roles where rolname !~ '^pg_'").fetchall()
            needed = live.execute(_NEEDED_EXTENSIONS.encode()).fetchall()
        with self.trials.bare([name for (name,) in roles], needed) as dsn:
            yield dsn

    def backup(self, snapshot: str) -> Path:
        """Dump what is the project's own, as of ``snapshot``, to this machine; keeps three.

        It is off the platform: whoever loses the project, or access to it, still has this.
        """
        with psycopg.connect(self.dsn()) as live:
            options = self.scope.dump_options(live)
        directory = self.stack.state / "backups"
        return kept_backup(directory, self.programs_directory(), self.dsn(), snapshot, options)

    def monitors(self) -> Sequence[Monitor]:
        """The parts of the project, as the platform itself sees them; asked for together."""
        api, where = self.api, self.api.where("health")
        seen = {service.name: service for service in api.health(SERVICES)}
        return [Monitor(name, where, partial(_trouble, seen.get(name))) for name in SERVICES]

    # --- deploying -------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Compare the declared with the live state. Reads only."""
        self._require_project()
        changes = self._schema().changes()
        if not self._gateway_logs_in():
            changes.append("set the password of gateway")
        return Plan(self.component, self._digest(), tuple(changes))

    def deploy(self, progress: Progress) -> Deployment:
        """Apply what is pending, after a backup; let the gateway in.

        Raises:
            DeployError: when it cannot; says at what and what to do.
        """
        started = time.monotonic()
        self._require_project()
        schema, done = self._schema(), []
        if schema.difference().pending:
            progress("backing up, before migrations")
            done.append(f"backed up to {self._backed_up().name}")
        applied = schema.apply(progress)
        done += applied
        if not self._gateway_logs_in():
            progress("setting the password of gateway")
            with psycopg.connect(self.dsn()) as connection:
                ContainerStack.log_in(connection, "gateway", self._gateway_password)
            done.append("set the password of gateway")
        self._wait_until_known(changed=bool(applied))
        return Deployment(self.component, self._digest(), tuple(done), time.monotonic() - started)

    def _require_project(self) -> None:
        where = self.api.where("")
        try:
            project = self.api.project()
        except httpx.TransportError as error:
            hint = "is supabase.management_url right, and reachable from here?"
            raise DeployError(self.component, f"{where}: no answer: {error}", hint) from error
        if project.status != _HEALTHY:
            hint = "a paused project is restored, an unhealthy one looked into, in the project's dashboard"
            raise DeployError(self.component, f"{where}: the project is {project.status}", hint)
        engine = project.database.postgres_engine
        if engine and engine != str(self.settings.postgres_major):
            what = (
                f"{where}: the project runs PostgreSQL {engine}, declared is {self.settings.postgres_major}"
            )
            raise DeployError(
                self.component, what, "correct supabase.postgres_major, or upgrade the project"
            )
        if not self.server.authority.is_file():
            what = f"supabase.database_ca: there is no file {self.settings.database_ca}"
            raise DeployError(self.component, what, "download it: the project's dashboard, Database, SSL")
        self._require_login()

    def _require_login(self) -> None:
        at = f"{self.settings.database_host}:{self.settings.database_port}"
        try:
            psycopg.connect(self.dsn()).close()
        except psycopg.OperationalError as error:
            what = f"{self.settings.login('postgres')} cannot log in at {at}: {error}"
            hint = "check database_host, database_password, database_ca, pooler and the project's networks"
            raise DeployError(self.component, what, hint) from error

    def _backed_up(self) -> Path:
        with psycopg.connect(self.dsn()) as connection:
            connection.execute("set transaction isolation level repeatable read, read only")
            row = connection.execute("select pg_export_snapshot()").fetchone()
            return self.backup(str(row[0] if row else ""))

    def _gateway_logs_in(self) -> bool:
        return self.server.lets_in("gateway", self._gateway_password)

    def _wait_until_known(self, *, changed: bool) -> None:
        """Pooler and Data API keep copies of logins and schema: what was changed must be known to them.

        Raises:
            DeployError: when it is not in time.
        """
        try:
            wait_until("the gateway's login", self._gateway_logs_in, seconds=_KNOWN_SECONDS)
            if changed:
                errors = (httpx.TransportError,)
                wait_until("the Data API", self._exposes_tables, seconds=_KNOWN_SECONDS, errors=errors)
        except DeadlineExceeded as error:
            hint = "see the logs of pooler and PostgREST in the project's dashboard"
            raise DeployError(self.component, str(error), hint) from error

    def _exposes_tables(self) -> bool:
        key = self.stack.identities.service_role_key().reveal()
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        declared = load(self.source / "declaration.yaml")
        client = self.stack.http(self.settings.api_url)
        for title in declared.tables:
            schema, _, name = title.partition(".")
            there = client.get(f"/rest/v1/{name}?limit=0", headers={**headers, "Accept-Profile": schema})
            if there.status_code == httpx.codes.NOT_FOUND:
                return False
        return True

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _gateway_password(self) -> Secret:
        return self.stack.secret(self.stack.environment.gateway.database_password)

    def _schema(self) -> Schema:
        return Schema(self.source, self.dsn(), self.cli, self.settings.seed)

    def _digest(self) -> str:
        """What identifies the declared state; no secret goes into it."""
        try:
            schema = Schema(self.source, "", self.cli, self.settings.seed).digest()
        except OSError as error:
            raise DeployError("supabase", f"cannot read {self.source}: {error}") from error
        return hashlib.sha256("\0".join([self.settings.model_dump_json(), schema]).encode()).hexdigest()


def _trouble(service: Service | None) -> str:
    if service is None:
        return "the platform says nothing of it"
    if service.status == _HEALTHY:
        return ""
    return f"{service.status}{': ' if service.error else ''}{service.error}"
