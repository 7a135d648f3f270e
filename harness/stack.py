"""The stack of one environment, as checks and providers see it: typed access, no logic of its own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import httpx

from harness.environment import Environment
from harness.errors import ConfigurationError, NoProvider, Problem
from harness.hosts.fleet import Fleet
from harness.hosts.place import Place
from harness.hosts.ssh import Remote
from harness.providers.base import ComponentProvider, LogReader, Process
from harness.secrets import Secret, SecretStore
from harness.trust import system_trust

if TYPE_CHECKING:
    from harness.release import Release

__all__ = ["Identities", "Processes", "Stack"]

T = TypeVar("T")


class Processes(Protocol):
    """Control over the processes of a stack; what drills and negative controls use."""

    def programs(self) -> list[Process]:
        """Every program under the process manager."""
        ...

    def pid(self, program: str) -> int:
        """The pid of ``program``; 0 when it is not running."""
        ...

    def place(self, program: str) -> Place:
        """The machine that ``program`` runs on (the first, if there are several)."""
        ...

    def instances(self, program: str) -> list[tuple[Place, int]]:
        """Every machine that ``program`` runs on, with its pid there (0: it does not run)."""
        ...

    def stop(self, program: str) -> None:
        """Stop ``program``; it stays stopped."""
        ...

    def start(self, program: str) -> None:
        """Start ``program`` and wait until it is ready."""
        ...

    def restart(self, program: str) -> None:
        """Stop, then start."""
        ...

    def kill(self, program: str) -> int:
        """SIGKILL the program's main process, as a crash would; the pid it had."""
        ...

    def stopped(self, program: str) -> AbstractContextManager[None]:
        """Stopped inside the block, started and ready again after it, whatever happens in it."""
        ...

    def paused(self, program: str) -> AbstractContextManager[None]:
        """Its whole process tree under SIGSTOP inside the block, continued after it."""
        ...


class Identities(Protocol):
    """Access tokens for test users."""

    def user_id(self, name: str) -> str:
        """The UUID of the test user ``name`` (``alice``, ``bob``, or any other word)."""
        ...

    def token(self, name: str, *, ttl_seconds: int = 600) -> Secret:
        """An access token of the test user ``name``, as Supabase Auth would issue it."""
        ...

    def anon_key(self) -> Secret:
        """The project's public key (role anon)."""
        ...

    def service_role_key(self) -> Secret:
        """The project's service key (bypasses RLS)."""
        ...


@dataclass
class Stack:
    """One environment, ready to be deployed and asked.

    ``root`` is the repository; ``state`` is `.harness/<environment>`, where run state, logs and evidence
    go. ``release`` is what is being deployed. ``database_dsn`` connects as the role `postgres` (owner of
    the schema, not a superuser).
    """

    root: Path
    state: Path
    environment: Environment
    secrets: SecretStore
    providers: dict[str, ComponentProvider] = field(default_factory=dict)
    logs_source: LogReader | None = None
    process_control: Processes | None = None
    identities_source: Identities | None = None
    dsn_source: Callable[[], str] | None = None
    release: Release | None = None
    _remote: Remote | None = None
    _fleet: Fleet | None = None
    _trust: ssl.SSLContext | None = None
    _clients: dict[str, httpx.Client] = field(default_factory=dict)
    _closing: list[Callable[[], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def provider(self, component: str) -> ComponentProvider:
        """The provider of ``component``.

        Raises:
            NoProvider: when nothing implements the provider that the environment names.
        """
        if component not in self.providers:
            name = getattr(self.environment, component).provider
            raise NoProvider(f"nothing implements {name!r} for {component} yet")
        return self.providers[component]

    def secret(self, reference: str) -> Secret:
        """The secret behind ``reference``."""
        return self.secrets.resolve(reference)

    @property
    def logs(self) -> LogReader:
        """Reads what components log. Raises NoProvider where nothing can."""
        return _present(self.logs_source, "reads logs")

    @property
    def processes(self) -> Processes:
        """Controls processes. Raises NoProvider where nothing can."""
        return _present(self.process_control, "controls processes")

    @property
    def identities(self) -> Identities:
        """Access tokens for test users. Raises NoProvider where nothing issues them."""
        return _present(self.identities_source, "issues access tokens")

    @property
    def database_dsn(self) -> str:
        """A libpq connection string for the role `postgres`; contains the password: never print it."""
        return _present(self.dsn_source, "connects to the database")()

    @property
    def remote(self) -> Remote:
        """The environment's machines over ssh; connections are made when they are first used.

        Raises:
            NoProvider: when the environment has no machines.
        """
        machines = self.environment.machines
        if machines is None:
            raise NoProvider("this environment declares no machines")
        with self._lock:
            if self._remote is None:
                self._remote = Remote(machines, self.secret(machines.ssh.key), self.root, self.state)
            return self._remote

    @property
    def fleet(self) -> Fleet:
        """The environment's machines: what they say of themselves, and what keeps them apart.

        Raises:
            NoProvider: when the environment has no machines.
        """
        remote = self.remote
        makers = [getattr(provider, "machine_programs", list) for provider in self.providers.values()]
        units = [str(program.unit) for make in makers for program in make() if program.unit]
        with self._lock:
            if self._fleet is None and self.environment.machines is not None:
                self._fleet = Fleet(self.environment.machines, remote, units)
        return _present(self._fleet, "reaches machines")

    @property
    def tls_ca(self) -> Path | None:
        """The file with the authority that the environment declares beside those of the system, if any."""
        declared = getattr(self.environment.gateway, "tls", None)
        return self.root / declared.ca if declared is not None and declared.ca else None

    def http(self, url: str) -> httpx.Client:
        """A pooled client for the base ``url`` (connect 2 s, read 10 s; pass a longer one where needed).

        Raises:
            ConfigurationError: when the declared authority cannot be read.
        """
        with self._lock:
            if url not in self._clients:
                timeout = httpx.Timeout(10.0, connect=2.0)
                self._clients[url] = httpx.Client(
                    base_url=url, timeout=timeout, trust_env=False, verify=self._trusted()
                )
            return self._clients[url]

    def _trusted(self) -> ssl.SSLContext:
        """Made once: reading the system's authorities takes longer than a request."""
        if self.tls_ca is None:
            return system_trust()
        if self._trust is None:
            self._trust = httpx.create_ssl_context(trust_env=False)
            try:
                self._trust.load_verify_locations(cafile=self.tls_ca)
            except (OSError, ssl.SSLError) as error:
                what = f"the authority {self.tls_ca} cannot be read: {error}"
                raise ConfigurationError([Problem("gateway.tls.ca", what)]) from error
        return self._trust

    def on_close(self, work: Callable[[], None]) -> None:
        """Do ``work`` whenever the stack is closed; it may be used again afterwards."""
        self._closing.append(work)

    def close(self) -> None:
        """Close every pooled client and every connection to a machine, and what a provider keeps open."""
        for work in self._closing:
            work()
        with self._lock:
            if self._remote is not None:
                self._remote.close()
                self._remote = self._fleet = None
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def _present(value: T | None, does: str) -> T:
    if value is None:
        raise NoProvider(f"nothing {does} in this environment yet")
    return value
