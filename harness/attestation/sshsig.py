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

from harness.attestation.keys import PublicKey
from harness.errors import HarnessError

__all__ = ["NAMESPACE", "key_bytes", "ssh_sign", "ssh_verifies"]

NAMESPACE = "approval@chat-stack"
"""A signature for another purpose (git, files) does not count here."""
_SECONDS = 30.0
_ED25519, _ED25519_BLOB = 32, 51  # bytes: of the key itself, and with its kind and both lengths before it
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


def key_bytes(key: str) -> bytes:
    """What tells one public key from another, however it is written: of an ed25519 key its 32 bytes.

    Raises:
        ValueError: when it is no key, or not written as an encoder writes it.
    """
    if key.startswith("ed25519:"):
        return PublicKey.parse(key).raw
    kind, _, text = key.partition(" ")
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("an ssh key is its kind and base64, as in a .pub file") from None
    if base64.b64encode(blob).decode() != text:
        raise ValueError("is not base64 as an encoder writes it")
    if blob[4 : 4 + int.from_bytes(blob[:4])] != kind.encode():
        raise ValueError(f"is no {kind} key: it says something else inside")
    return blob[-_ED25519:] if kind == "ssh-ed25519" and len(blob) == _ED25519_BLOB else blob


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
