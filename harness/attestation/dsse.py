"""DSSE envelopes: what was signed, and which keys signed it.

The payload is looked at only after a signature over exactly its bytes has been verified. Key ids are
ignored; what counts is how many different public keys have signed (https://github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope as Dsse

from harness.attestation import strict_json
from harness.attestation.keys import PublicKey, Signer
from harness.attestation.strict_json import Malformed

__all__ = ["IN_TOTO", "Envelope", "seal", "unseal"]

IN_TOTO = "application/vnd.in-toto+json"
_MOST_SIGNATURES = 16
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")


@dataclass(frozen=True)
class Envelope:
    """An envelope whose signatures nobody has looked at yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    def signed_by(self, keys: Iterable[PublicKey]) -> frozenset[PublicKey]:
        """Those of ``keys`` that have signed exactly these bytes as this type; each counts once."""
        message = Dsse(self.payload, self.payload_type, {}).pae()
        wanted = frozenset(keys)
        return frozenset(
            key for key in wanted if any(key.verifies(sig, message) for sig in self.signatures)
        )


def seal(payload: bytes, signers: Iterable[Signer], payload_type: str = IN_TOTO) -> bytes:
    """The envelope around ``payload``, signed by each of ``signers``."""
    message = Dsse(payload, payload_type, {}).pae()
    signatures = [{"keyid": s.public.keyid, "sig": _encode(s.sign(message))} for s in signers]
    envelope = {"payload": _encode(payload), "payloadType": payload_type, "signatures": signatures}
    return strict_json.dumps(envelope) + b"\n"


def unseal(raw: bytes) -> Envelope:
    """The envelope in ``raw``; verifies nothing.

    Raises:
        Malformed: when it is none.
    """
    found = strict_json.loads(raw)
    if not isinstance(found, dict) or set(found) != {"payload", "payloadType", "signatures"}:
        raise Malformed("is no DSSE envelope: it holds payload, payloadType, signatures and nothing else")
    listed = found["signatures"]
    if not isinstance(listed, list) or len(listed) > _MOST_SIGNATURES:
        raise Malformed(f"has no list of at most {_MOST_SIGNATURES} signatures")
    if not isinstance(found["payloadType"], str):
        raise Malformed("has a payloadType that is no text")
    signatures = tuple(_signature(entry) for entry in listed)
    return Envelope(found["payloadType"], _decode(found["payload"], "payload"), signatures)


def _signature(entry: Any) -> bytes:
    if not isinstance(entry, dict) or not {"sig"} <= set(entry) <= {"sig", "keyid"}:
        raise Malformed("has a signature that is not sig and keyid")
    return _decode(entry["sig"], "sig")


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: Any, name: str) -> bytes:
    """Both alphabets of base64, as DSSE asks for, but no character that means nothing."""
    if not isinstance(text, str) or not _BASE64.fullmatch(text):
        raise Malformed(f"has a {name} that is not base64")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        raise Malformed(f"has a {name} that is not base64") from None
