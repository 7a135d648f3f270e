"""Ed25519 keys as text: a public key is pinned in an environment file, a private one is a secret.

``ed25519:BASE64`` is a public key (its 32 bytes). A private key is a secret whose value is PKCS#8 PEM, or
the 32 bytes of its seed in URL-safe base64, which is what a ``local:`` reference makes up on first use.
Keys are compared by their bytes: a key id is a hint that whoever signs may choose freely.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey
from securesystemslib.signer._signature import Signature

from harness.errors import ConfigurationError, Problem
from harness.secrets import Secret

__all__ = ["KEY_PATTERN", "PublicKey", "Signer", "new_private_key", "signer"]

KEY_PATTERN = r"^ed25519:[A-Za-z0-9+/]{43}=$"
_SEED = re.compile(r"[A-Za-z0-9_-]{43}=?")
_SIZE = 32


@dataclass(frozen=True)
class PublicKey:
    """The 32 bytes of an ed25519 public key."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """From ``ed25519:BASE64``.

        Raises:
            ValueError: when it is anything else.
        """
        if not re.fullmatch(KEY_PATTERN, text):
            raise ValueError("a public key is written as ed25519: and 44 characters of base64")
        raw = base64.b64decode(text.partition(":")[2], validate=True)
        if cls(raw).text != text:
            raise ValueError("is not base64 as an encoder writes it")
        return cls(raw)

    @property
    def text(self) -> str:
        """As it stands in an environment file."""
        return f"ed25519:{base64.b64encode(self.raw).decode()}"

    @property
    def keyid(self) -> str:
        """A short name for it: the start of its sha256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` over ``message`` was made with the private half."""
        key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(self.raw), keyid=self.keyid)
        try:
            key.verify_signature(Signature(self.keyid, signature.hex()), message)
        except UnverifiedSignatureError:  # malformed signatures included
            return False
        return True


class Signer:
    """Signs with one private key. Never shows it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.public = PublicKey(raw)
        public = SSlibKey.from_crypto(key.public_key(), keyid=self.public.keyid)
        self._signer = CryptoSigner(key, public)

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``."""
        return bytes.fromhex(self._signer.sign(message).signature)

    def __repr__(self) -> str:
        return f"Signer({self.public.text})"


def signer(secret: Secret) -> Signer:
    """The signer of the private key in ``secret``.

    Raises:
        ConfigurationError: when it holds none; names the reference, not the value.
    """
    text = secret.reveal().strip()
    try:
        if _SEED.fullmatch(text):
            seed = base64.urlsafe_b64decode(text.rstrip("=") + "=")
            return Signer(Ed25519PrivateKey.from_private_bytes(seed))
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
        raise _unusable(secret, "holds no private key") from None  # the reason might repeat the value
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(secret, "is a private key of another kind than ed25519")
    return Signer(key)


def new_private_key() -> tuple[str, PublicKey]:
    """A new key pair: the private half as PKCS#8 PEM, and the public one."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), Signer(key).public


def _unusable(secret: Secret, what: str) -> ConfigurationError:
    hint = "make one with: harness keys new FILE"
    return ConfigurationError([Problem(secret.reference or "key", what, hint)], title="keys")
