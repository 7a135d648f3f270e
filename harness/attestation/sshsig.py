"""Signatures by the ssh key that a person has already: `ssh-keygen -Y sign` and `-Y verify`.

https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
"""

from __future__ import annotations

import base64
import binascii
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
    argv = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    done = _run(argv, message, may_ask=True)
    if done.returncode or b"BEGIN SSH SIGNATURE" not in done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HarnessError(
            f"{key}: ssh-keygen cannot sign with it: {said[-1] if said else 'no reason given'}"
        )
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
