"""What a database machine is given: pure functions from settings to files, units and what identifies them.

On the machine::

    /opt/supabase/postgresql-VERSION…/   PostgreSQL's programs, from the wheel of requirements-postgres.txt
    /opt/supabase/postgrest-DIGEST       PostgREST, a static program
    /opt/supabase/front-DIGEST/          the Data API's front and its Python packages
    /etc/supabase/                       configuration; what holds secrets is readable by its program alone
    /var/lib/supabase/data               the database
    supabase-postgres, supabase-postgrest, supabase-api     the units
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from harness.hosts import packages
from harness.providers.local import postgres_binaries
from harness.providers.selfhosted import data_api
from harness.providers.selfhosted.server import SETTINGS, postgrest, postgrest_settings
from harness.secrets import Secret

__all__ = ["DATA", "ETC", "FRONT_PACKAGES", "OPT", "REST_ADMIN_PORT", "Parts", "Service", "services"]

OPT, ETC, DATA = "/opt/supabase", "/etc/supabase", "/var/lib/supabase/data"
REST_PORT, REST_ADMIN_PORT = 3001, 3002
"""Of PostgREST, on the machine's loopback."""
FRONT_PACKAGES = ("aiohttp",)

_UNIT = """\
[Unit]
Description={title}
Wants=network-online.target
After=network-online.target {after}
StartLimitIntervalSec=600
StartLimitBurst=20

[Service]
Type=exec
User={user}
Group={user}
Environment=SUPABASE_CONFIGURATION={digest}
{environment}ExecStart={command}
Restart=always
RestartSec=1
KillMode=mixed
KillSignal={signal}
TimeoutStopSec=30
LimitNOFILE=65536
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict
ReadWritePaths={writes}

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Parts:
    """What the services are made of. Ports are the machine's; ``network`` is the private one's range."""

    root: Path
    network: str
    database_port: int
    api_port: int
    authenticator_password: Secret
    jwt_secret: Secret
    anon_key: Secret
    service_role_key: Secret
    superuser: str

    @property
    def postgres(self) -> str:
        """The directory of PostgreSQL's programs on the machine."""
        return f"{OPT}/{postgres_binaries.archive_file().name.removesuffix('.tar.gz')}"

    @property
    def postgrest(self) -> str:
        """PostgREST on the machine."""
        stat = postgrest(self.root)
        return f"{OPT}/{stat.parent.name}-{stat.stat().st_size}"

    @property
    def front(self) -> str:
        """The directory of the Data API's front on the machine."""
        source = Path(data_api.__file__).read_bytes()
        made = hashlib.sha256(packages.digest(FRONT_PACKAGES).encode() + source)
        return f"{OPT}/front-{made.hexdigest()[:16]}"


@dataclass(frozen=True)
class Service:
    """One program under systemd. ``files`` are its configuration, readable by ``user``, by their path."""

    name: str
    title: str
    user: str
    command: str
    files: Mapping[str, bytes]
    key: bytes
    environment: tuple[str, ...] = ()
    after: str = ""
    signal: str = "SIGTERM"
    writes: str = "/var/lib/supabase"

    @property
    def unit(self) -> str:
        """The name of its unit."""
        return f"supabase-{self.name}.service"

    @property
    def digest(self) -> str:
        """What identifies it. Keyed with a secret: the files that go into it hold some themselves."""
        made = hmac.new(self.key, self._unit("").encode(), hashlib.sha256)
        for path, content in sorted(self.files.items()):
            made.update(f"\0{path}\0".encode() + content)
        return made.hexdigest()[:16]

    def unit_file(self) -> bytes:
        """Its unit; the digest in it is also in the environment of the process, so that it can be told."""
        return self._unit(self.digest).encode()

    def _unit(self, digest: str) -> str:
        return _UNIT.format(
            title=self.title,
            after=self.after,
            user=self.user,
            digest=digest,
            environment="".join(f"{line}\n" for line in self.environment),
            command=self.command,
            signal=self.signal,
            writes=self.writes,
        )


def services(parts: Parts) -> tuple[Service, Service, Service]:
    """PostgreSQL, PostgREST, and the front of the Data API, in the order in which they start."""
    return _postgres(parts), _postgrest(parts), _front(parts)


def _postgres(parts: Parts) -> Service:
    configuration = f"{ETC}/postgresql.conf"
    settings = {
        **SETTINGS,
        "listen_addresses": "*",  # the firewall and pg_hba.conf let in the private network alone
        "port": str(parts.database_port),
        "max_connections": "200",
        "shared_buffers": "128MB",
        "max_wal_size": "1GB",
        "cluster_name": "supabase",
        "data_directory": DATA,
        "hba_file": f"{ETC}/pg_hba.conf",
        "ident_file": f"{ETC}/pg_ident.conf",
        "ssl": "on",
        "ssl_cert_file": f"{ETC}/server.crt",
        "ssl_key_file": f"{ETC}/server.key",
        "ssl_min_protocol_version": "TLSv1.2",
    }
    lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    return Service(
        name="postgres",
        title="PostgreSQL of Supabase",
        user="postgres",
        command=f"{parts.postgres}/bin/postgres -c config_file={configuration}",
        files={
            configuration: lines.encode(),
            f"{ETC}/pg_hba.conf": _rules(parts).encode(),
            f"{ETC}/pg_ident.conf": b"",
        },
        key=parts.jwt_secret.reveal().encode(),
        environment=("Environment=LC_ALL=C.UTF-8", "OOMScoreAdjust=-900"),
        signal="SIGINT",  # fast shutdown: ends sessions, then checkpoints
    )


def _rules(parts: Parts) -> str:
    """Who may log in from where: the superuser on the machine itself alone, and nobody without TLS."""
    return f"""\
host    all {parts.superuser} 127.0.0.1/32 scram-sha-256
host    all {parts.superuser} all reject
host    all all 127.0.0.1/32 scram-sha-256
hostssl all all {parts.network} scram-sha-256
"""


def _postgrest(parts: Parts) -> Service:
    configuration = f"{ETC}/postgrest.conf"
    password = quote(parts.authenticator_password.reveal(), safe="")
    text = postgrest_settings(
        uri=f"postgresql://authenticator:{password}@127.0.0.1:{parts.database_port}/postgres",
        secret=parts.jwt_secret.reveal(),
        port=REST_PORT,
        admin_port=REST_ADMIN_PORT,
    )
    return Service(
        name="postgrest",
        title="PostgREST",
        user="supabase",
        command=f"{parts.postgrest} {configuration}",
        files={configuration: text.encode()},
        key=parts.jwt_secret.reveal().encode(),
        environment=("Environment=GHCRTS=-N2",),
        after="supabase-postgres.service",
        writes="-/var/lib/supabase/none",
    )


def _front(parts: Parts) -> Service:
    configuration = f"{ETC}/api.env"
    keys = ",".join(data_api.key_digest(key.reveal()) for key in (parts.anon_key, parts.service_role_key))
    lines = {
        "DATA_API_HOST": "0.0.0.0",  # noqa: S104 - the firewall lets in the load balancer
        "DATA_API_PORT": str(parts.api_port),
        "DATA_API_UPSTREAM": f"http://127.0.0.1:{REST_PORT}",
        "DATA_API_KEYS": keys,
    }
    return Service(
        name="api",
        title="Front of the Data API",
        user="supabase",
        command=f"/usr/bin/python3 {parts.front}/data_api.py",
        files={configuration: "".join(f"{name}={value}\n" for name, value in lines.items()).encode()},
        key=parts.jwt_secret.reveal().encode(),
        environment=(
            f"Environment=PYTHONPATH={parts.front} PYTHONUNBUFFERED=1",
            f"EnvironmentFile={configuration}",
        ),
        after="supabase-postgrest.service",
        writes="-/var/lib/supabase/none",
    )
