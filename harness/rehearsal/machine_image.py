"""What is in the image of a rehearsal's machines: packages, and what is set up once for all of them."""

from __future__ import annotations

from harness.rehearsal.topology import USER

__all__ = ["MACHINE_PACKAGES", "MACHINE_SETUP"]

_MACHINE = "systemd systemd-sysv dbus openssh-server sudo nftables iproute2 iputils-ping"
_TOOLS = "ca-certificates curl jq openssl procps python3"
_PRIVATE = "wireguard-go wireguard-tools"
_SERVICES = "haproxy docker.io iptables"
_LIBRARIES = "libgomp1 libgssapi-krb5-2 libicu72 liblz4-1 libssl3 libstdc++6 libxml2 libzstd1"
"""What PostgreSQL and llama.cpp are linked against."""
MACHINE_PACKAGES = tuple(sorted(" ".join((_MACHINE, _TOOLS, _PRIVATE, _SERVICES, _LIBRARIES)).split()))

_ENGINE = """\
[Service]
ExecStartPre=/usr/local/sbin/writable
"""
_WRITABLE = """\
#!/bin/sh -eu
# A container's cgroups and /proc/sys are mounted read-only; this machine's engine writes both.
for place in /sys/fs/cgroup /sys/fs/cgroup/* /proc/sys; do
    if mountpoint -q "$place"; then mount -o remount,bind,rw "$place"; fi
done
"""

_CONTAINED = """\
# Docker gives every container a way out and a name server that waits: this machine is to have neither.
[Unit]
Description=No way out of the rehearsal
DefaultDependencies=no
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'while ip route del default 2>/dev/null; do :; done; \
printf "nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n" >/etc/resolv.conf'

[Install]
WantedBy=sysinit.target
"""

_OFF = "docker.service docker.socket containerd.service haproxy.service nftables.service"
"""Installed, and off until a machine's role or a provider turns it on."""
_MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer "
    "getty@.service console-getty.service systemd-update-utmp.service systemd-update-utmp-runlevel.service "
    "sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount "
    "sys-fs-fuse-connections.mount modprobe@.service"
)
"""Of no use in a container."""

MACHINE_SETUP = f"""\
groupadd --system --force docker
useradd --create-home --shell /bin/bash --groups sudo,docker {USER}
install -d -m 0700 -o {USER} -g {USER} /home/{USER}/.ssh
printf '{USER} ALL=(ALL) NOPASSWD: ALL\\n' >/etc/sudoers.d/{USER}
chmod 0440 /etc/sudoers.d/{USER}
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
touch /etc/machine-id
mkdir -p /var/log/journal /etc/haproxy/tls /etc/systemd/system/docker.service.d
chmod 0700 /etc/haproxy/tls
cat >/etc/systemd/system/docker.service.d/container.conf <<'END'
{_ENGINE}END
cat >/usr/local/sbin/writable <<'END'
{_WRITABLE}END
chmod 0755 /usr/local/sbin/writable
cat >/etc/systemd/system/contained.service <<'END'
{_CONTAINED}END
systemctl set-default multi-user.target
systemctl disable {_OFF}
systemctl mask {_MASKED}
systemctl enable ssh.service contained.service
"""
