"""A certificate authority for one rehearsal, and the load balancer's certificate; and wrong ones.

trustme makes them. They are kept under the state directory, and made anew when they end within a month or
the names have changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import trustme
from cryptography import x509

from harness.rehearsal.keys import write_private

__all__ = ["certificate", "ensure_pki", "expired", "unknown"]

_VALID = dt.timedelta(days=90)
_LEAST = dt.timedelta(days=30)


def ensure_pki(folder: Path, names: Sequence[str]) -> bytes:
    """The load balancer's certificate, chain and key as PEM; `ca.pem` in ``folder`` is whom to trust.

    The authority's own key is kept as `ca-key.pem`, readable by its owner alone, for certificates that
    negative controls want.
    """
    path = folder / "balancer.pem"
    if not _fits(path, names) or not (folder / "ca.pem").exists():
        authority = trustme.CA(organization_name="rehearsal")
        write_private(folder / "ca-key.pem", authority.private_key_pem.bytes())
        write_private(path, certificate(authority, names))
        (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    return path.read_bytes()


def authority(folder: Path) -> trustme.CA:
    """The rehearsal's authority, to issue more."""
    return trustme.CA.from_pem((folder / "ca.pem").read_bytes(), (folder / "ca-key.pem").read_bytes())


def certificate(issuer: trustme.CA, names: Sequence[str], days: float = _VALID.days) -> bytes:
    """A certificate of ``issuer`` for ``names`` that ends in ``days`` (negative: it has ended)."""
    now = dt.datetime.now(dt.UTC)
    end = now + dt.timedelta(days=days)
    begin = min(now, end) - dt.timedelta(days=1)
    issued = issuer.issue_cert(*names, not_before=begin, not_after=end)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return chain + issued.private_key_pem.bytes()


def expired(folder: Path, names: Sequence[str]) -> bytes:
    """What the load balancer would serve had nobody renewed: ended yesterday, of the right authority."""
    return certificate(authority(folder), names, days=-1)


def unknown(names: Sequence[str]) -> bytes:
    """A certificate for the right names of an authority that nobody trusts."""
    return certificate(trustme.CA(organization_name="somebody else"), names)


def _fits(path: Path, names: Sequence[str]) -> bool:
    """Whether the certificate in ``path`` is for ``names`` and stays valid for a month."""
    if not path.exists():
        return False
    held = x509.load_pem_x509_certificate(path.read_bytes())
    san = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    named = {str(entry.value) for entry in san}
    return named == set(names) and held.not_valid_after_utc - dt.datetime.now(dt.UTC) > _LEAST
