"""What is run on a database machine: shell scripts as text, and what the first of them has seen."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from harness.hosts.packages import RUNTIME_PROBE
from harness.providers.host.files import DATA, ETC, Parts, Service
from harness.providers.selfhosted.server import INITDB

__all__ = ["LIBRARIES", "Seen", "create_cluster", "missing_libraries", "observe", "prepare", "run"]

LIBRARIES = "apt-get install libicu72 libxml2 libgssapi-krb5-2 liblz4-1 libzstd1 libssl3"
_HOME = "/var/lib/supabase"


@dataclass(frozen=True)
class Seen:
    """A machine's state. ``running`` has the digest of the configuration that each service runs with.

    ``files`` has the sha256 of each file that exists, ``enabled`` the units that start with the machine,
    ``present`` which of the programs' directories are there, ``cluster`` whether the database was made.
    """

    python: str
    files: dict[str, str]
    present: frozenset[str]
    running: dict[str, str]
    enabled: frozenset[str]
    cluster: bool

    @classmethod
    def parse(cls, text: str) -> Seen:
        """From what :func:`observe` printed."""
        lines = [line.split(" ", 2) for line in text.splitlines()]
        said = {(kind, name): rest[0] if rest else "" for kind, name, *rest in lines}
        return cls(
            python=next((f"{a} {b[0]}" for kind, a, *b in lines if kind == "python" and b), ""),
            files={name: value for (kind, name), value in said.items() if kind == "file"},
            present=frozenset(name for kind, name in said if kind == "present"),
            running={name: value for (kind, name), value in said.items() if kind == "running"},
            enabled=frozenset(name for kind, name in said if kind == "enabled"),
            cluster=("cluster", DATA) in said,
        )


def sha256(content: bytes) -> str:
    """As `sha256sum` prints it."""
    return hashlib.sha256(content).hexdigest()


def unit_path(service: Service) -> str:
    """Where the unit of ``service`` is."""
    return f"/etc/systemd/system/{service.unit}"


def observe(parts: Parts, services: Sequence[Service]) -> str:
    """Prints what :class:`Seen` holds, in one round trip; changes nothing."""
    files = [path for service in services for path in (*service.files, unit_path(service))]
    places = [parts.postgres, parts.postgrest, parts.front, f"{ETC}/server.crt"]
    lines = [f'echo "python $(python3 -c {shlex.quote(RUNTIME_PROBE)} 2>/dev/null)"']
    lines += [f'[ -f {path} ] && echo "file {path} $(sha256sum <{path} | cut -d" " -f1)"' for path in files]
    lines += [f"[ -e {place} ] && echo 'present {place}'" for place in places]
    lines += [f"[ -f {DATA}/PG_VERSION ] && echo 'cluster {DATA}'"]
    for service in services:
        lines += [
            f"systemctl is-enabled --quiet {service.unit} 2>/dev/null && echo 'enabled {service.unit}'",
            f"pid=$(systemctl show {service.unit} -p MainPID --value)",
            "configuration=$([ $pid != 0 ] && tr '\\0' '\\n' </proc/$pid/environ"
            " | sed -n 's/^SUPABASE_CONFIGURATION=//p')",
            f'[ -n "$configuration" ] && echo "running {service.name} $configuration"',
        ]
    return "\n".join([*lines, "true"])


def prepare(name: str) -> str:
    """Users, directories, and a certificate: the private network is encrypted, but the gateway insists."""
    return f"""set -eu
for user in postgres supabase; do
  getent passwd $user >/dev/null ||
    useradd --system --user-group --home-dir {_HOME} --no-create-home --shell /usr/sbin/nologin $user
done
install -d -m 755 /opt/supabase {ETC} {_HOME}
find /opt/supabase -maxdepth 1 -name '*.part' -exec rm -rf {{}} +
if [ ! -f {ETC}/server.crt ]; then
  umask 077
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj /CN={shlex.quote(name)} -keyout {ETC}/server.key -out {ETC}/server.crt.part 2>/dev/null
  chown postgres:postgres {ETC}/server.key
  chmod 644 {ETC}/server.crt.part
  mv {ETC}/server.crt.part {ETC}/server.crt
fi
"""


def missing_libraries(postgres: str) -> str:
    """Prints the libraries that PostgreSQL needs and the machine lacks."""
    return f"ldd {postgres}/bin/postgres {postgres}/bin/initdb | sed -n 's/ => not found//p' | sort -u"


def create_cluster(postgres: str) -> str:
    """Creates the database cluster, with the superuser's password from standard input; whole or not at all.

    The password passes through a file that only the server's user can read, and that is removed.
    """
    options = shlex.join(INITDB)
    return f"""set -eu
umask 077
rm -rf {DATA}.part {_HOME}/password
cat >{_HOME}/password
trap 'rm -f {_HOME}/password' EXIT
chown postgres:postgres {_HOME}/password
install -d -m 700 -o postgres -g postgres {DATA}.part
runuser -u postgres -- env LC_ALL=C.UTF-8 {postgres}/bin/initdb --pgdata={DATA}.part {options} \
  --no-sync --pwfile={_HOME}/password >/dev/null
sync -f {DATA}.part
rm -rf {DATA}
mv {DATA}.part {DATA}
"""


def run(service: Service) -> str:
    """Enables the service and (re)starts it with the configuration that is there now."""
    return f"""set -eu
systemctl daemon-reload
systemctl enable --quiet {service.unit}
if [ -n "$(systemctl list-units --all --no-legend {service.unit})" ]; then
  systemctl reset-failed {service.unit}
fi
systemctl restart {service.unit}
"""
