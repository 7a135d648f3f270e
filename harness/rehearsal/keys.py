"""The keys of a rehearsal's machines, made on this machine, so that nothing has to be trusted on first use.

One file a key, under the state directory, readable by its owner alone; a file that is there is kept.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

__all__ = ["SshKey", "WireguardKey", "generated_secret", "ssh_key", "wireguard_key", "write_private"]


class SshKey:
    """An ed25519 key pair as OpenSSH writes it."""

    def __init__(self, private: str) -> None:
        self.private = private
        key = serialization.load_ssh_private_key(private.encode(), password=None)
        encoding, kind = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        self.public = key.public_key().public_bytes(encoding, kind).decode()


class WireguardKey:
    """A Curve25519 key pair in base64, as `wg` writes it."""

    def __init__(self, private: str) -> None:
        self.private = private
        key = X25519PrivateKey.from_private_bytes(base64.b64decode(private))
        self.public = base64.b64encode(key.public_key().public_bytes_raw()).decode()


def ssh_key(path: Path) -> SshKey:
    """The key in ``path``; made when there is none."""
    if not path.exists():
        encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
        private = Ed25519PrivateKey.generate().private_bytes(encoding, kind, serialization.NoEncryption())
        write_private(path, private)
    return SshKey(path.read_text())


def wireguard_key(path: Path) -> WireguardKey:
    """The key in ``path``; made when there is none."""
    if not path.exists():
        write_private(path, base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()))
    return WireguardKey(path.read_text().strip())


def generated_secret(path: Path) -> None:
    """Fill ``path`` with a random secret when it is not there."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, mode 0600: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
