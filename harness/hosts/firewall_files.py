"""What keeps a machine's firewall over a reboot, and the scripts that change it; data and text alone."""

from __future__ import annotations

__all__ = ["REVERT_SECONDS", "RULES", "UNIT", "UNIT_NAME", "UNIT_TEXT", "arm", "keep"]

RULES = "/etc/harness/firewall.nft"
UNIT_NAME = "harness-firewall.service"
UNIT = f"/etc/systemd/system/{UNIT_NAME}"
REVERT_SECONDS = 30
"""So long new rules live when nobody can log in any more."""
BUSY = 75
"""Exit status of :func:`arm`: new rules of somebody else are waiting to be confirmed or taken back."""
GONE = 76
"""Exit status of :func:`keep`: too late, the rules before are in force again."""
_REVERT = "harness-firewall-revert"
_RUN = "/run/harness"
UNIT_TEXT = f"""\
# Written by the chat stack harness. A unit of its own: nftables.service would flush what Docker added.
[Unit]
Description=Firewall of the chat stack (table inet harness)
DefaultDependencies=no
After=local-fs.target nftables.service
Before=network-pre.target docker.service shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {RULES}
ExecReload=/usr/sbin/nft -f {RULES}

[Install]
WantedBy=sysinit.target
"""
_ARM = """\
set -eu
if systemctl is-active -q {revert}.timer; then exit {busy}; fi
umask 077
mkdir -p {run} /etc/harness
cat >{run}/firewall.new <<'END-OF-RULES'
{rules}
END-OF-RULES
nft -c -f {run}/firewall.new
printf 'table inet harness\\ndelete table inet harness\\n' >{run}/firewall.before
if nft list table inet harness >/dev/null 2>&1; then
    nft -s list table inet harness >>{run}/firewall.before
fi
systemd-run --quiet --collect --on-active={seconds} --timer-property=AccuracySec=100ms \\
    --unit={revert} nft -f {run}/firewall.before
nft -f {run}/firewall.new
"""
_KEEP = """\
set -eu
systemctl stop {revert}.timer || exit {gone}
umask 022
cat >{unit}.new <<'END-OF-UNIT'
{text}END-OF-UNIT
sync {run}/firewall.new {unit}.new
cp {run}/firewall.new {rules}.new
mv -f {rules}.new {rules}
mv -f {unit}.new {unit}
rm -f {run}/firewall.new {run}/firewall.before
systemctl daemon-reload
systemctl -q enable {name}
systemctl start {name}
"""


def arm(rules: str) -> str:
    """A script that loads ``rules``; they go by themselves unless :func:`keep` follows in time."""
    return _ARM.format(
        revert=_REVERT, busy=BUSY, run=_RUN, rules=rules.rstrip("\n"), seconds=REVERT_SECONDS
    )


def keep() -> str:
    """A script that keeps what :func:`arm` loaded, also over a reboot."""
    return _KEEP.format(
        revert=_REVERT, gone=GONE, run=_RUN, rules=RULES, unit=UNIT, text=UNIT_TEXT, name=UNIT_NAME
    )
