"""The image that every machine of a rehearsal starts from: Debian, systemd, ssh and packages.

Built once: its tag is the digest of its recipe. mmdebstrap makes it from Debian's packages, so no image
registry is needed.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import docker
from docker.errors import ImageNotFound, NullResource

from harness.errors import HarnessError
from harness.rehearsal.engine import Say

__all__ = ["REPOSITORY", "ensure_image", "recipe"]

REPOSITORY = "harness-rehearsal-machine"
_SUITE = "bookworm"
_BUILD_SECONDS = 900.0

_MACHINE = "systemd systemd-sysv dbus openssh-server sudo nftables iproute2 iputils-ping"
_TOOLS = "ca-certificates curl jq openssl procps python3"
_PRIVATE = "wireguard-go wireguard-tools"
_SERVICES = "haproxy docker.io iptables"
_LIBRARIES = "libgomp1 libgssapi-krb5-2 libicu72 liblz4-1 libssl3 libstdc++6 libxml2 libzstd1"
"""What PostgreSQL and llama.cpp are linked against."""
PACKAGES = tuple(sorted(" ".join((_MACHINE, _TOOLS, _PRIVATE, _SERVICES, _LIBRARIES)).split()))

_OPTIONS = (
    "--variant=minbase",
    # a machine of an hour: what only a crash of this one could lose may be lost
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)

_ENGINE_DROP_IN = """\
# A container's /proc/sys and cgroups are mounted read-only; this machine's engine writes both.
[Service]
ExecStartPre=/bin/sh -c 'mount -o remount,rw /sys/fs/cgroup; for m in /sys/fs/cgroup/*; do \
mountpoint -q $m && mount -o remount,rw $m; done; mount -o remount,rw /proc/sys'
"""

_SETUP = f"""\
set -eu
groupadd --system --force docker
useradd --create-home --shell /bin/bash --groups sudo,docker deploy
install -d -m 0700 -o deploy -g deploy /home/deploy/.ssh
printf 'deploy ALL=(ALL) NOPASSWD: ALL\\n' >/etc/sudoers.d/deploy
chmod 0440 /etc/sudoers.d/deploy
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
touch /etc/machine-id
mkdir -p /var/log/journal /etc/systemd/system/docker.service.d
cat >/etc/systemd/system/docker.service.d/container.conf <<'END'
{_ENGINE_DROP_IN}END
systemctl set-default multi-user.target
systemctl disable docker.service docker.socket containerd.service haproxy.service nftables.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \\
    fstrim.timer getty@.service console-getty.service systemd-update-utmp.service \\
    systemd-update-utmp-runlevel.service sys-kernel-debug.mount sys-kernel-tracing.mount \\
    dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount modprobe@.service
systemctl enable ssh.service
"""


def recipe() -> str:
    """Everything that the image depends on, as text."""
    return json.dumps([_SUITE, PACKAGES, _OPTIONS, _SETUP])


def tag() -> str:
    """Name and tag of the image that this recipe makes."""
    return f"{REPOSITORY}:{hashlib.sha256(recipe().encode()).hexdigest()[:12]}"


def ensure_image(client: docker.DockerClient, say: Say) -> str:
    """The image's name; builds it when this recipe has not been built here.

    Raises:
        HarnessError: when it cannot be built; with mmdebstrap's own words.
    """
    try:
        client.images.get(tag())
    except (ImageNotFound, NullResource):
        say("building the machines' image from Debian's packages (once)")
        _build(client)
    return tag()


def _build(client: docker.DockerClient) -> None:
    """Into a file first: of a build that failed half-way, the engine gets nothing."""
    program = shutil.which("mmdebstrap")
    if program is None:
        raise HarnessError("there is no mmdebstrap on this machine (Debian: apt install mmdebstrap)")
    with tempfile.TemporaryDirectory(prefix="harness-image-") as folder:
        archive = Path(folder) / "machine.tar"
        hook = '--customize-hook=chroot "$1" sh -c ' + shlex.quote(_SETUP)
        include = f"--include={','.join(PACKAGES)}"
        argv = [program, "--quiet", *_OPTIONS, include, hook, _SUITE, str(archive)]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False, cwd="/"
        )
        if done.returncode:
            raise HarnessError(f"mmdebstrap ended with {done.returncode}: {done.stderr.strip()[-800:]}")
        repository, _, version = tag().partition(":")
        client.api.import_image_from_file(
            str(archive), repository=repository, tag=version, changes=[f"LABEL {REPOSITORY}=1"]
        )
