"""Supabase on a machine of one's own: installed over ssh, run by systemd, migrated by the Supabase CLI."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx

from harness.environment.gateway import DockerGateway
from harness.environment.supabase import HostSupabase as Settings
from harness.errors import DeadlineExceeded, DeployError
from harness.hosts.firewall import drift, prepare
from harness.hosts.forwards import Forwards
from harness.hosts.ssh import CommandFailed
from harness.migrations import Migration
from harness.providers.backup import Archive, kept_backup
from harness.providers.base import Deployment, Plan, Progress, was_done
from harness.providers.database import WHOLE, Monitor, answering
from harness.providers.docker.balancer import Balancer
from harness.providers.host.files import REST_ADMIN_PORT, Parts
from harness.providers.host.machine import START_SECONDS, DatabaseMachine, Step
from harness.providers.host.server import HostServer, derived
from harness.providers.local import postgres_binaries
from harness.providers.machine_programs import MachineProgram
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
from harness.providers.selfhosted.way_back import restore_in_place, reverse_newest
from harness.providers.supabase_cli import SupabaseCli
from harness.secrets import Secret
from harness.stack import Stack
from harness.trust import system_trust
from harness.waiting import wait_until

__all__ = ["HostSupabase"]


class HostSupabase:
    """Implements :class:`harness.providers.base.ComponentProvider`, and what database checks need."""

    component = "supabase"
    scope = WHOLE

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        if not isinstance(stack.environment.supabase, Settings):
            raise TypeError("the environment does not declare a Supabase on a machine")
        self.settings = stack.environment.supabase
        self.machine = self.settings.host
        self.cli = SupabaseCli(stack.root, stack.state / "supabase" / "cli")
        self._ways: Forwards | None = None
        stack.dsn_source = self.dsn

    # --- what checks use -------------------------------------------------------------------------

    @property
    def source(self) -> Path:
        """The declaration: the directory `supabase/` of the repository."""
        return self.stack.root / "supabase"

    @property
    def forwards(self) -> Forwards:
        """Ways to the machine's own loopback."""
        remote = self.stack.remote
        if self._ways is None or self._ways.remote is not remote:  # the stack was closed, and is used again
            self._ways = Forwards(remote)
        return self._ways

    @property
    def server(self) -> HostServer:
        """The server; nobody but whoever may log in to the machine reaches it as superuser."""
        password = derived(self._password("postgres"), SUPERUSER)
        return HostServer(self.forwards, self.machine, self.settings.database_port, password)

    def programs_directory(self) -> Path:
        """Where pg_dump and its like are on this machine, of the server's own version."""
        return postgres_binaries.directory(shared=False)

    def dsn(self) -> str:
        """Connects as the role `postgres`; contains the password: never print it."""
        return self.server.dsn("postgres", self._password("postgres"), "postgres")

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """An empty Supabase database of its own for as long as the block lasts; yields its DSN."""
        with scratch_database(self.dsn()) as dsn:
            yield dsn

    def backup(self, snapshot: str) -> Path:
        """Dump the database as of ``snapshot`` to this machine: off the one that holds it; keeps three."""
        directory = self.stack.state / "backups"
        return kept_backup(directory, self.programs_directory(), self.dsn(), snapshot)

    def restore(self, backup: Path) -> str:
        """Put ``backup`` in the place of the live database; the name of the one before, which stays."""
        archive = Archive(backup, self.programs_directory())
        before = restore_in_place(self.server, self.dsn(), archive)
        # its sessions were ended: started anew it is there at once, by itself after half a minute
        self.stack.processes.restart("postgrest")
        return before

    def reverse_newest(self) -> Migration:
        """Take the newest migration back, with its record; a deploy applies it again."""
        return reverse_newest(self.dsn(), self.source)

    def restore_place(self) -> contextlib.AbstractContextManager[str]:
        """A database that a backup is restored into on trial, while the block lasts: its DSN."""
        return self.scratch()

    def monitors(self) -> Sequence[Monitor]:
        """The parts that can be asked whether they are healthy."""
        host, port = self.forwards.to(self.machine, f"127.0.0.1:{REST_ADMIN_PORT}")
        urls = {
            "PostgREST is connected and knows the schema": f"http://{host}:{port}/ready",
            "PostgREST lives": f"http://{host}:{port}/live",
            "the Data API's front": f"{self.settings.api_url}/health",
        }
        return answering(self.stack, urls)

    def machine_programs(self) -> list[MachineProgram]:
        """What runs on the machine, for whoever controls and reads programs there."""
        return [
            MachineProgram(
                name,
                self.component,
                self.machine,
                unit=f"supabase-{name}.service",
                ready=probe,
                ready_seconds=START_SECONDS,
            )
            for name, probe in self._ready().items()
        ]

    # --- deploying -------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Compare the declared with the live state. Reads only."""
        changes = [*drift(self.stack.fleet, self._machines())]
        changes += [step.change for step in self._steps()]
        if any(change.endswith("postgres") for change in changes):
            changes.append("bring the database to the declared schema and logins")
        else:
            changes += self._database_changes()
        if (balancer := self._balancer()) and not balancer.configured():
            changes.append(f"configure haproxy on {balancer.machine}")
        return Plan(self.component, self._digest(), tuple(changes))

    def deploy(self, progress: Progress) -> Deployment:
        """Install what differs, start the services, bring the database to its declared state.

        Raises:
            DeployError: when it cannot; says at what and what to do.
        """
        started = time.monotonic()
        try:
            done = [*prepare(self.stack.fleet, self._machines(), progress)]
            done += self._carry_out(self._steps(), progress)
            done += self._lead_there(progress)
        except CommandFailed as error:
            raise DeployError(self.component, str(error)) from error
        except DeadlineExceeded as error:
            hint = f"read the journal of supabase-* on {self.machine}"
            raise DeployError(self.component, str(error), hint) from error
        return Deployment(self.component, self._digest(), tuple(done), time.monotonic() - started)

    def _carry_out(self, steps: list[Step], progress: Progress) -> list[str]:
        """The database is brought to its state as soon as it runs: what reads it is started after that."""
        done = []
        later = [step for step in steps if step.change in ("start postgrest", "start api")]
        for step in steps:
            if step not in later:
                progress(step.change)
                step.work()
                done.append(was_done(step.change))
        done += self._bring_database(progress)
        for step in later:
            progress(step.change)
            step.work()
            done.append(was_done(step.change))
        return done

    def _bring_database(self, progress: Progress) -> list[str]:
        server, done = self.server, []
        wait_until("PostgreSQL", server.ready, seconds=START_SECONDS)
        if not logs_in(server, SUPERUSER, server.password):
            raise DeployError(
                self.component,
                f"the database on {self.machine} was made with another database_password",
                "restore that secret; or begin anew, without the data: remove /var/lib/supabase there",
            )
        if bootstrap(server):
            done.append("laid the Supabase baseline")
        done += self._log_in({"postgres"})
        done += self._schema().apply(progress)
        return done + self._log_in({"authenticator", "gateway"})

    def _database_changes(self) -> list[str]:
        server = self.server
        if not logs_in(server, SUPERUSER, server.password):
            return ["nothing: the declared database_password is not the database's"]
        if not bootstrapped(server):
            return ["lay the Supabase baseline"]
        if not logs_in(server, "postgres", self._password("postgres")):
            return ["set the password of postgres"]
        roles = ("authenticator", "gateway")
        unset = [role for role in roles if not logs_in(server, role, self._password(role))]
        return self._schema().changes() + [f"set the password of {role}" for role in unset]

    def _log_in(self, roles: set[str]) -> list[str]:
        passwords = {role: self._password(role) for role in sorted(roles)}
        return [f"set the password of {role}" for role in set_passwords(self.server, passwords)]

    def _balancer(self) -> Balancer | None:
        """What leads `api_url` to the machine; nothing does where no load balancer is declared."""
        if isinstance(self.stack.environment.gateway, DockerGateway):
            return Balancer(self.stack.environment, self.stack.remote)
        return None

    def _machines(self) -> list[str]:
        balancer = self._balancer()
        return [self.machine, *([balancer.machine] if balancer else [])]

    def _lead_there(self, progress: Progress) -> list[str]:
        balancer, done = self._balancer(), []
        if balancer and not balancer.configured():
            progress(f"configuring haproxy on {balancer.machine}")
            with self.stack.fleet.writing(balancer.machine):
                balancer.configure()
            done.append(f"configured haproxy on {balancer.machine}")
        health = self.stack.http(self.settings.api_url)
        wait_until(
            f"the Data API at {self.settings.api_url}",
            lambda: health.get("/health").status_code == 200,
            seconds=START_SECONDS,
            errors=(httpx.TransportError,),
        )
        return done

    def _steps(self) -> list[Step]:
        machine = DatabaseMachine(self.stack.remote, self.machine, self._ready())
        return machine.steps(self._parts(), derived(self._password("postgres"), SUPERUSER))

    def _ready(self) -> dict[str, Callable[[], bool]]:
        """Whether each service serves: asked on the machine's own loopback, through ssh."""
        return {
            "postgres": lambda: self.server.ready(),  # noqa: PLW0108 - the way there is opened when asked
            "postgrest": lambda: self._answers(REST_ADMIN_PORT, "/ready"),
            "api": lambda: self._answers(self.settings.api_port, "/health"),
        }

    def _answers(self, port: int, path: str) -> bool:
        host, local = self.forwards.to(self.machine, f"127.0.0.1:{port}")
        try:
            answer = httpx.get(
                f"http://{host}:{local}{path}", timeout=2.0, verify=system_trust(), trust_env=False
            )
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    # --- inside ----------------------------------------------------------------------------------

    def _password(self, role: str) -> Secret:
        declared = {
            "postgres": self.settings.database_password,
            "gateway": self.stack.environment.gateway.database_password,
        }
        if role in declared:
            return self.stack.secret(declared[role])
        return derived(self._password("postgres"), role)

    def _parts(self) -> Parts:
        machines, identities = self.stack.environment.machines, self.stack.identities
        if machines is None:
            raise DeployError(self.component, "there are no machines", "declare them: machines.hosts")
        return Parts(
            root=self.stack.root,
            network=machines.private_network.range,
            database_port=self.settings.database_port,
            api_port=self.settings.api_port,
            authenticator_password=self._password("authenticator"),
            jwt_secret=self.stack.secret(self.settings.jwt_secret),
            anon_key=identities.anon_key(),
            service_role_key=identities.service_role_key(),
            superuser=SUPERUSER,
        )

    def _schema(self) -> Schema:
        return Schema(self.source, self.dsn(), self.cli, self.settings.seed)

    def _digest(self) -> str:
        """What identifies the declared state; no secret goes into it."""
        try:
            schema = Schema(self.source, "", self.cli, self.settings.seed).digest()
        except OSError as error:
            raise DeployError("supabase", f"cannot read {self.source}: {error}") from error
        parts = [self.settings.model_dump_json(), baseline_digest(), schema, postgres_binaries.digest()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()
