"""Supabase on a machine of one's own: installed over ssh, run by systemd, migrated by the Supabase CLI."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from harness.environment.supabase import HostSupabase as Settings
from harness.errors import DeadlineExceeded, DeployError
from harness.hosts import packages
from harness.hosts.forwards import Forwards
from harness.hosts.ssh import CommandFailed
from harness.providers.backup import Archive
from harness.providers.base import Deployment, Plan, Progress, was_done
from harness.providers.host import scripts
from harness.providers.host.files import (
    ETC,
    FRONT_PACKAGES,
    REST_ADMIN_PORT,
    Parts,
    Service,
    services,
)
from harness.providers.host.scripts import Seen
from harness.providers.host.server import HostServer, derived
from harness.providers.local import postgres_binaries
from harness.providers.machine_programs import MachineProgram
from harness.providers.schema import Schema
from harness.providers.selfhosted import data_api
from harness.providers.selfhosted.bootstrap import (
    SUPERUSER,
    baseline_digest,
    bootstrap,
    bootstrapped,
    logs_in,
    scratch_database,
    set_passwords,
)
from harness.providers.selfhosted.server import postgrest
from harness.providers.supabase_cli import SupabaseCli
from harness.secrets import Secret
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["HostSupabase"]

_BACKUPS_KEPT = 3
_COPY_SECONDS = 600.0
_START_SECONDS = 30.0


@dataclass(frozen=True)
class _Step:
    """One change: what a plan says of it, and what carries it out."""

    change: str
    work: Callable[[], None]


class HostSupabase:
    """Implements :class:`harness.providers.base.ComponentProvider`, and what database checks need."""

    component = "supabase"

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
        if self._ways is None:
            self._ways = Forwards(self.stack.remote)
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
        path = directory / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{snapshot}.dump"
        Archive(path, self.programs_directory()).dump(self.dsn(), snapshot)
        for old in sorted(directory.glob("*.dump"), key=lambda file: file.stat().st_mtime)[:-_BACKUPS_KEPT]:
            old.unlink(missing_ok=True)
        return path

    def monitors(self) -> Mapping[str, str]:
        """URLs that answer 200 while a part is healthy, by the part's name."""
        host, port = self.forwards.to(self.machine, f"127.0.0.1:{REST_ADMIN_PORT}")
        return {
            "PostgREST is connected and knows the schema": f"http://{host}:{port}/ready",
            "PostgREST lives": f"http://{host}:{port}/live",
            "the Data API's front": f"{self.settings.api_url}/health",
        }

    def machine_programs(self) -> list[MachineProgram]:
        """What runs on the machine, for whoever controls and reads programs there."""
        ready: dict[str, Callable[[], bool]] = {
            "postgres": self._accepts,
            "postgrest": lambda: self._answers(REST_ADMIN_PORT, "/ready"),
            "api": lambda: self._answers(self.settings.api_port, "/health"),
        }
        return [
            MachineProgram(
                name,
                self.component,
                self.machine,
                unit=f"supabase-{name}.service",
                ready=probe,
                ready_seconds=_START_SECONDS,
            )
            for name, probe in ready.items()
        ]

    # --- deploying -------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Compare the declared with the live state. Reads only."""
        parts = self._parts()
        steps = self._steps(parts, self._observe(parts))
        changes = [step.change for step in steps]
        if any(change.endswith("postgres") for change in changes):
            changes.append("bring the database to the declared schema and logins")
        else:
            changes += self._database_changes()
        return Plan(self.component, self._digest(), tuple(changes))

    def deploy(self, progress: Progress) -> Deployment:
        """Install what differs, start the services, bring the database to its declared state.

        Raises:
            DeployError: when it cannot; says at what and what to do.
        """
        started = time.monotonic()
        parts = self._parts()
        steps = self._steps(parts, self._observe(parts))
        try:
            done = self._carry_out(steps, progress)
        except CommandFailed as error:
            raise DeployError(self.component, str(error)) from error
        except DeadlineExceeded as error:
            hint = f"read the journal of supabase-* on {self.machine}"
            raise DeployError(self.component, str(error), hint) from error
        return Deployment(self.component, self._digest(), tuple(done), time.monotonic() - started)

    def _carry_out(self, steps: list[_Step], progress: Progress) -> list[str]:
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
        wait_until("PostgreSQL", server.ready, seconds=_START_SECONDS)
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

    # --- the machine -----------------------------------------------------------------------------

    def _observe(self, parts: Parts) -> Seen:
        text = scripts.observe(parts, services(parts))
        return Seen.parse(self.stack.remote.script(self.machine, text, sudo=True).require().text)

    def _steps(self, parts: Parts, seen: Seen) -> list[_Step]:
        """What has to be done on the machine, in order; nothing where it is as declared."""
        if seen.python != packages.runtime():
            found = seen.python or "no python3"
            what = f"{self.machine} has {found}, this machine {packages.runtime()}"
            raise DeployError(self.component, what, packages.MISFIT)
        steps = [*self._programs(parts, seen)]
        if not seen.cluster:
            steps.append(_Step("create the database cluster", lambda: self._create(parts)))
        for service in services(parts):
            as_declared = (
                seen.running.get(service.name) == service.digest
                and service.unit in seen.enabled
                and all(seen.files.get(p) == scripts.sha256(c) for p, c in self._files(service).items())
            )
            if not as_declared:
                change = f"start {service.name}"
                steps.append(_Step(change, lambda service=service: self._start(service)))  # type: ignore[misc]
        if steps and f"{ETC}/server.crt" not in seen.present:
            prepare = scripts.prepare(self.machine)
            steps.insert(0, _Step(f"prepare {self.machine}", lambda: self._script(prepare)))
        return steps

    def _programs(self, parts: Parts, seen: Seen) -> Iterator[_Step]:
        if parts.postgres not in seen.present:
            name = parts.postgres.rpartition("/")[2]
            yield _Step(f"install {name}", lambda: self._install_postgres(parts))
        if parts.postgrest not in seen.present:
            yield _Step("install PostgREST", lambda: self._install_postgrest(parts))
        if parts.front not in seen.present:
            yield _Step("install the front of the Data API", lambda: self._install_front(parts))

    def _install_postgres(self, parts: Parts) -> None:
        self._feed(
            f"{_unpacked(parts.postgres)} --strip-components=1",
            parts.postgres,
            postgres_binaries.archive_file().read_bytes(),
        )
        lacks = self.stack.remote.script(
            self.machine, scripts.missing_libraries(parts.postgres), sudo=True
        ).require()
        if lacks.text.strip():
            names = ", ".join(lacks.text.split())
            raise DeployError(self.component, f"{self.machine} lacks {names}", scripts.LIBRARIES)

    def _install_postgrest(self, parts: Parts) -> None:
        part = f"{parts.postgrest}.part"
        self._feed(f"cat >{part}; chmod 755 {part}", parts.postgrest, postgrest(parts.root).read_bytes())

    def _install_front(self, parts: Parts) -> None:
        self._feed(
            _unpacked(parts.front),
            parts.front,
            packages.archive(FRONT_PACKAGES, self.stack.root),
            finish=False,
        )
        self._put(
            f"{parts.front}.part/data_api.py", Path(data_api.__file__).read_bytes(), "root:supabase", 0o644
        )
        self._script(f"rm -rf {parts.front}; mv {parts.front}.part {parts.front}")

    def _create(self, parts: Parts) -> None:
        argv = ["sh", "-c", scripts.create_cluster(parts.postgres)]
        password = self.server.password.reveal().encode() + b"\n"
        self.stack.remote.run(self.machine, argv, stdin=password, sudo=True, seconds=60.0).require()

    def _start(self, service: Service) -> None:
        for path, content in self._files(service).items():
            private = path.startswith(f"{ETC}/")
            self._put(path, content, f"root:{service.user}", 0o640 if private else 0o644)
        self._script(scripts.run(service))
        ready = {program.unit: program.ready for program in self.machine_programs()}[service.unit]
        if ready is not None:
            wait_until(service.title, ready, seconds=_START_SECONDS, errors=(httpx.TransportError,))

    @staticmethod
    def _files(service: Service) -> dict[str, bytes]:
        return {**service.files, scripts.unit_path(service): service.unit_file()}

    def _feed(self, command: str, target: str, content: bytes, *, finish: bool = True) -> None:
        """Feed ``command``, which makes ``target``.part; then rename: whole, or not at all."""
        last = f"rm -rf {target} && mv {target}.part {target}" if finish else "true"
        argv = ["sh", "-c", f"set -e; rm -rf {target}.part; {command}; {last}"]
        self.stack.remote.run(self.machine, argv, stdin=content, sudo=True, seconds=_COPY_SECONDS).require()

    def _put(self, path: str, content: bytes, owner: str, mode: int) -> None:
        part = f"{path}.part"
        text = f"umask 077; cat >{part}; chown {owner} {part}; chmod {mode:o} {part}; mv {part} {path}"
        self.stack.remote.run(self.machine, ["sh", "-ec", text], stdin=content, sudo=True).require()

    def _script(self, text: str) -> None:
        self.stack.remote.script(self.machine, text, sudo=True, seconds=60.0).require()

    def _accepts(self) -> bool:
        return self.server.ready()

    def _answers(self, port: int, path: str) -> bool:
        host, local = self.forwards.to(self.machine, f"127.0.0.1:{port}")
        try:
            answer = httpx.get(f"http://{host}:{local}{path}", timeout=2.0, trust_env=False)
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


def _unpacked(target: str) -> str:
    return f"mkdir -p {target}.part && tar -xzf - -C {target}.part --no-same-owner"
