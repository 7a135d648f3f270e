"""What is run on a GPU machine: shell scripts as text, and what the first of them has seen."""

from __future__ import annotations

import hashlib
import io
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from harness.hosts.packages import RUNTIME_PROBE
from harness.providers.pod.configuration import HOME, KEY_FILE, UNIT

__all__ = [
    "Seen",
    "activate",
    "directory",
    "fingerprint",
    "keep",
    "keep_weights",
    "kept",
    "named",
    "observe",
    "prepare",
    "roll_back",
    "sha256",
    "unpack",
]

_RELEASES = f"{HOME}/releases"
_UNIT_FILE = f"/etc/systemd/system/{UNIT}"
_STAT = "stat -c '%s %Y %Z %i'"


@dataclass(frozen=True)
class Seen:
    """A machine's state. What does not exist is an empty string.

    ``current`` and ``previous`` are digests of configurations; ``running`` is that of the process; ``key``
    and ``unit`` are sha256 of the files, ``running_key`` of the variable that the process was started with.
    ``files`` is the sha256 of what `sha256sum` says of the files of the declared configuration.
    ``weights`` says whether the verified file is there and untouched since.
    """

    python: str
    current: str
    previous: str
    running: str
    pid: int
    enabled: bool
    unit: str
    key: str
    running_key: str
    files: str
    packages: bool
    weights: bool
    own_engine: bool

    @classmethod
    def parse(cls, text: str) -> Seen:
        """From what :func:`observe` printed."""
        values = dict(line.partition("=")[::2] for line in text.splitlines())

        def said(name: str) -> str:
            return values.get(name, "")

        return cls(
            python=said("python"),
            current=said("current").rpartition("/")[2],
            previous=said("previous").rpartition("/")[2],
            running=said("running"),
            pid=int(said("pid") or 0),
            enabled=said("enabled") == "enabled",
            unit=said("unit"),
            key=said("key"),
            running_key=said("running_key"),
            files=said("files"),
            packages=said("packages") == "yes",
            weights=said("weights") == "yes",
            own_engine=said("own_engine") == "yes",
        )


def sha256(content: bytes) -> str:
    """As `sha256sum` prints it."""
    return hashlib.sha256(content).hexdigest()


def observe(release: str, packages: str, weights: str, key_variable: str) -> str:
    """Prints what :class:`Seen` holds, in one round trip; changes nothing."""
    file = f"{HOME}/weights/{weights}.gguf"
    return f"""
sum() {{ sha256sum 2>/dev/null | cut -d' ' -f1; }}
has() {{ [ -e "$1" ] && echo yes || echo no; }}
pid=$(systemctl show {UNIT} -p MainPID --value)
echo "python=$(python3 -c {shlex.quote(RUNTIME_PROBE)} 2>/dev/null)"
echo "current=$(readlink {HOME}/current)"
echo "previous=$(readlink {HOME}/previous)"
echo "pid=$pid"
echo "enabled=$(systemctl is-enabled {UNIT} 2>/dev/null)"
[ -f {_UNIT_FILE} ] && echo "unit=$(sum <{_UNIT_FILE})"
[ -f {KEY_FILE} ] && [ "$(stat -c '%a %u' {KEY_FILE})" = '600 0' ] && echo "key=$(sum <{KEY_FILE})"
if [ "$pid" != 0 ]; then
  started_with() {{ tr '\\0' '\\n' </proc/$pid/environ | sed -n "s/^$1=//p" | tr -d '\\n'; }}
  echo "running=$(started_with INSTANT_CONFIGURATION)"
  echo "running_key=$(started_with {key_variable} | sum)"
fi
listed() {{ cd "$1" 2>/dev/null && find . -type f | LC_ALL=C sort | xargs sha256sum; }}
echo "files=$(listed {_RELEASES}/{release} | sum)"
echo "packages=$(has {HOME}/packages/{packages or "."})"
kept=$(cat {file}.verified 2>/dev/null)
[ -n "$kept" ] && [ "$kept" = "$({_STAT} {file})" ] && echo weights=yes || echo weights=no
echo "own_engine=$([ -x {HOME}/venv/bin/vllm ] && [ -f {HOME}/model/manifest.json ] && echo yes || echo no)"
"""


def prepare() -> str:
    """The user that the engine runs as, the groups of its unit, and the directories."""
    return f"""set -eu
for group in video render; do getent group $group >/dev/null || groupadd --system $group; done
getent passwd instant >/dev/null ||
  useradd --system --user-group --home-dir /var/lib/instant --shell /usr/sbin/nologin instant
install -d -m 755 {HOME} {HOME}/weights {HOME}/packages {_RELEASES}
install -d -m 700 /etc/instant
find {HOME} -maxdepth 2 -name '*.part' -exec rm -rf {{}} +
"""


def keep_weights(sha256: str) -> str:
    """Keeps its standard input as the weights ``sha256``, if it is them; else says what came, and fails."""
    file = f"{HOME}/weights/{sha256}.gguf"
    return f"""set -eu
cat >{file}.part
came=$(sha256sum <{file}.part | cut -d' ' -f1)
if [ "$came" != {sha256} ]; then rm {file}.part; echo "what arrived has the sha256 $came" >&2; exit 1; fi
chmod 644 {file}.part
sync {file}.part
mv -f {file}.part {file}
{_STAT} {file} >{file}.verified
"""


def unpack(directory: str) -> str:
    """Unpacks the gzipped tar on standard input into ``directory``: whole, or not at all."""
    part = f"{directory}.part"
    return f"""set -eu
rm -rf {part}
mkdir -p {part}
tar -xzf - -C {part} --no-same-owner
rm -rf {directory}
mv {part} {directory}
"""


def activate(release: str, keep: str = "") -> str:
    """Makes ``release`` the configuration in use, keeps the one before, and starts the engine with it.

    Each step is atomic, and each may be repeated: a run that was killed here is finished by the next one.
    The configuration ``keep`` is not removed either.
    """
    return f"""set -eu
cd {HOME}
now=""
if [ -L current ]; then now=$(readlink current); fi
if [ "$now" != releases/{release} ]; then
  if [ -n "$now" ]; then ln -sfn "$now" previous.part && mv -T previous.part previous; fi
  ln -sfn releases/{release} current.part
  mv -T current.part current
fi
{_start()}{_sweep(keep)}"""


def keep(previous: str) -> str:
    """Keeps the configuration ``previous`` to go back to (empty: none), and no other."""
    link = f"ln -sfn releases/{previous} previous.part && mv -T previous.part previous"
    return f"set -eu\ncd {HOME}\n{link if previous else 'rm -f previous'}\n{_sweep('')}"


def kept() -> str:
    """Prints the configuration that is kept to go back to, and each file that it cannot start without."""
    return f"""cd {HOME} || exit 0
before=$(readlink previous)
echo "previous=${{before##*/}}"
[ -n "$before" ] || exit 0
for name in engine.yaml {UNIT}; do [ -s "$before/$name" ] || echo "lacks={HOME}/$before/$name"; done
named=$(grep -o '{HOME}/[A-Za-z0-9._/-]*' "$before/engine.yaml" 2>/dev/null | sort -u)
for file in $named; do [ -e "$file" ] || echo "lacks=$file"; done
"""


def _sweep(keep: str) -> str:
    return f"""for old in releases/*; do
  case "$old" in
    "$(readlink current)" | "$(readlink previous)" | "releases/{keep or "-"}") ;;
    *) rm -rf "$old" ;;
  esac
done
"""


def roll_back() -> str:
    """Makes the configuration before this one the one in use; they change places."""
    return f"""set -eu
cd {HOME}
now=$(readlink current)
before=$(readlink previous)
ln -sfn "$before" current.part
mv -T current.part current
ln -sfn "$now" previous.part
mv -T previous.part previous
{_start()}
"""


def _start() -> str:
    return f"""install -m 644 current/{UNIT} {_UNIT_FILE}.part
mv {_UNIT_FILE}.part {_UNIT_FILE}
systemctl daemon-reload
systemctl enable --quiet {UNIT}
if [ -n "$(systemctl list-units --all --no-legend {UNIT})" ]; then
  systemctl reset-failed {UNIT}
fi
systemctl restart {UNIT}
"""


def named(digest: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of one configuration's directory, with one more that says its name.

    So the name is in the environment of the process that runs it: what runs can be told.
    """
    return {**files, "configuration.env": f"INSTANT_CONFIGURATION={digest}\n".encode()}


def fingerprint(files: Mapping[str, bytes]) -> str:
    """What :func:`observe` says of a directory with exactly these files."""
    lines = [f"{sha256(content)}  ./{name}\n" for name, content in sorted(files.items())]
    return sha256("".join(lines).encode())


def directory(files: Mapping[str, bytes], packages: str) -> bytes:
    """A gzipped tar of one configuration's directory: its files, and a link to its packages."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
        if packages:
            link = tarfile.TarInfo("packages")
            link.type, link.linkname = tarfile.SYMTYPE, f"{HOME}/packages/{packages}"
            tar.addfile(link)
    return buffer.getvalue()
