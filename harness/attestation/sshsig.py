"""Signatures by the ssh key that a person has already: `ssh-keygen -Y sign` and `-Y verify`.

https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
"""

from __future__ import annotations

import base64
import binascii
import stat
import subprocess
import tempfile
from pathlib import Path

from harness.errors import HarnessError

__all__ = ["NAMESPACE", "raw_ed25519", "ssh_sign", "ssh_verifies"]

NAMESPACE = "approval@chat-stack"
"""A signature for another purpose (git, files) does not count here."""
_SECONDS = 30.0
_WHO = "approver"


def ssh_sign(message: bytes, key: Path) -> str:
    """The armoured signature of ``message`` by the private key in ``key`` (or, for a .pub, by ssh-agent).

    Raises:
        HarnessError: when ssh-keygen cannot sign; with what it says.
    """
    if key.suffix != ".pub":
        _closed(key)
    argv = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    done = _run(argv, message, may_ask=True)
    if done.returncode or b"BEGIN SSH SIGNATURE" not in done.stdout:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip("@ ")]
        told = "\n    ".join(said) or "no reason given"
        raise HarnessError(f"{key}: ssh-keygen cannot sign with it:\n    {told}")
    return done.stdout.decode("ascii")


def ssh_verifies(signature: str, message: bytes, key: str) -> bool:
    """Whether ``signature`` over ``message`` was made for an approval by the ssh public ``key``."""
    with tempfile.TemporaryDirectory(prefix="approval-") as scratch:
        allowed, sig = Path(scratch) / "allowed_signers", Path(scratch) / "approval.sig"
        allowed.write_text(f'{_WHO} namespaces="{NAMESPACE}" {key}\n', encoding="ascii")
        sig.write_text(signature, encoding="utf-8")
        argv = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            str(allowed),
            "-I",
            _WHO,
            "-n",
            NAMESPACE,
            "-s",
            str(sig),
        ]
        return _run(argv, message).returncode == 0


def raw_ed25519(key: str) -> bytes | None:
    """The 32 bytes of an ``ssh-ed25519`` public key; None for another kind."""
    kind, _, blob = key.partition(" ")
    if kind != "ssh-ed25519":
        return None
    try:
        raw = base64.b64decode(blob, validate=True)
    except binascii.Error:
        return None
    return raw[-32:] if len(raw) == 51 else None


def _closed(key: Path) -> None:
    """Refuse a private key that others can read; of that, ssh-keygen would only say that it is none.

    Raises:
        HarnessError: saying so; or when there is no such file.
    """
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError as error:
        raise HarnessError(
            f"{key}: cannot be read: {error.strerror}; name your ssh key with --key"
        ) from None
    if mode & 0o077:
        raise HarnessError(
            f"{key}: can be read by others (mode {mode:04o}); nothing was signed (chmod 600 {key})"
        )


def _run(argv: list[str], message: bytes, *, may_ask: bool = False) -> subprocess.CompletedProcess[bytes]:
    """ssh-keygen reads the message from standard input; a passphrase it asks for on the terminal."""
    try:
        return subprocess.run(
            argv, input=message, capture_output=True, timeout=None if may_ask else _SECONDS, check=False
        )
    except FileNotFoundError:
        raise HarnessError("ssh-keygen is not installed; it belongs to OpenSSH (openssh-client)") from None
    except subprocess.TimeoutExpired:
        raise HarnessError(f"ssh-keygen did not end within {_SECONDS:g} s") from None
