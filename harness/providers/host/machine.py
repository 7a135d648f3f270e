"""The database machine: what is installed on it, and what has to be done so that it is as declared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DeployError
from harness.hosts import packages
from harness.hosts.ssh import Remote
from harness.providers.host import scripts
from harness.providers.host.files import ETC, FRONT_PACKAGES, Parts, Service, services
from harness.providers.host.scripts import Seen
from harness.providers.local import postgres_binaries
from harness.providers.selfhosted import data_api
from harness.providers.selfhosted.server import postgrest
from harness.secrets import Secret
from harness.waiting import wait_until

__all__ = ["START_SECONDS", "DatabaseMachine", "Step"]

START_SECONDS = 30.0
"""A service must be ready within this after its start."""
_COPY_SECONDS = 600.0


@dataclass(frozen=True)
class Step:
    """One change: what a plan says of it, and what carries it out."""

    change: str
    work: Callable[[], None]


class DatabaseMachine:
    """The machine ``name`` over ``remote``; ``ready`` asks each service whether it serves."""

    def __init__(self, remote: Remote, name: str, ready: Mapping[str, Callable[[], bool]]) -> None:
        self._remote, self.name, self._ready = remote, name, ready

    def steps(self, parts: Parts, superuser_password: Secret) -> list[Step]:
        """What has to be done on the machine, in order; nothing where it is as declared. Reads only.

        Raises:
            DeployError: when its Python is not the one that the packages are for.
        """
        text = scripts.observe(parts, services(parts))
        seen = Seen.parse(self._remote.script(self.name, text, sudo=True).require().text)
        if seen.python != packages.runtime():
            found = seen.python or "no python3"
            what = f"{self.name} has {found}, this machine {packages.runtime()}"
            raise DeployError("supabase", what, packages.MISFIT)
        steps = [*self._programs(parts, seen)]
        if not seen.cluster:
            create = functools.partial(self._create, parts, superuser_password)
            steps.append(Step("create the database cluster", create))
        for service in services(parts):
            as_declared = (
                seen.running.get(service.name) == service.digest
                and service.unit in seen.enabled
                and all(seen.files.get(p) == scripts.sha256(c) for p, c in self._files(service).items())
            )
            if not as_declared:
                steps.append(Step(f"start {service.name}", functools.partial(self._start, service)))
        if steps and f"{ETC}/server.crt" not in seen.present:
            prepare = functools.partial(self._script, scripts.prepare(self.name))
            steps.insert(0, Step(f"prepare {self.name}", prepare))
        return steps

    def _programs(self, parts: Parts, seen: Seen) -> Iterator[Step]:
        if parts.postgres not in seen.present:
            name = parts.postgres.rpartition("/")[2]
            yield Step(f"install {name}", lambda: self._install_postgres(parts))
        if parts.postgrest not in seen.present:
            yield Step("install PostgREST", lambda: self._install_postgrest(parts))
        if parts.front not in seen.present:
            yield Step("install the front of the Data API", lambda: self._install_front(parts))

    def _install_postgres(self, parts: Parts) -> None:
        self._feed(
            f"{_unpacked(parts.postgres)} --strip-components=1",
            parts.postgres,
            postgres_binaries.archive_file().read_bytes(),
        )
        lacks = self._remote.script(
            self.name, scripts.missing_libraries(parts.postgres), sudo=True
        ).require()
        if lacks.text.strip():
            names = ", ".join(lacks.text.split())
            raise DeployError("supabase", f"{self.name} lacks {names}", scripts.LIBRARIES)

    def _install_postgrest(self, parts: Parts) -> None:
        part = f"{parts.postgrest}.part"
        self._feed(f"cat >{part}; chmod 755 {part}", parts.postgrest, postgrest(parts.root).read_bytes())

    def _install_front(self, parts: Parts) -> None:
        self._feed(
            _unpacked(parts.front),
            parts.front,
            packages.archive(FRONT_PACKAGES, parts.root),
            finish=False,
        )
        self._put(
            f"{parts.front}.part/data_api.py", Path(data_api.__file__).read_bytes(), "root:supabase", 0o644
        )
        self._script(f"rm -rf {parts.front}; mv {parts.front}.part {parts.front}")

    def _create(self, parts: Parts, superuser_password: Secret) -> None:
        argv = ["sh", "-c", scripts.create_cluster(parts.postgres)]
        password = superuser_password.reveal().encode() + b"\n"
        self._remote.run(self.name, argv, stdin=password, sudo=True, seconds=60.0).require()

    def _start(self, service: Service) -> None:
        for path, content in self._files(service).items():
            private = path.startswith(f"{ETC}/")
            self._put(path, content, f"root:{service.user}", 0o640 if private else 0o644)
        self._script(scripts.run(service))
        wait_until(service.title, self._ready[service.name], seconds=START_SECONDS)

    @staticmethod
    def _files(service: Service) -> dict[str, bytes]:
        return {**service.files, scripts.unit_path(service): service.unit_file()}

    def _feed(self, command: str, target: str, content: bytes, *, finish: bool = True) -> None:
        """Feed ``command``, which makes ``target``.part; then rename: whole, or not at all."""
        last = f"rm -rf {target} && mv {target}.part {target}" if finish else "true"
        argv = ["sh", "-c", f"set -e; rm -rf {target}.part; {command}; {last}"]
        self._remote.run(self.name, argv, stdin=content, sudo=True, seconds=_COPY_SECONDS).require()

    def _put(self, path: str, content: bytes, owner: str, mode: int) -> None:
        part = f"{path}.part"
        text = f"umask 077; cat >{part}; chown {owner} {part}; chmod {mode:o} {part}; mv {part} {path}"
        self._remote.run(self.name, ["sh", "-ec", text], stdin=content, sudo=True).require()

    def _script(self, text: str) -> None:
        self._remote.script(self.name, text, sudo=True, seconds=60.0).require()


def _unpacked(target: str) -> str:
    return f"mkdir -p {target}.part && tar -xzf - -C {target}.part --no-same-owner"
