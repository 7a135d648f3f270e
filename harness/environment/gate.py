"""What an environment demands of a release before it lets it in, and how it speaks for itself."""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from harness.attestation.keys import KEY_PATTERN, PublicKey
from harness.attestation.sshsig import key_bytes
from harness.environment.base import Positive, SecretReference, Strict, Url

__all__ = ["Approvals", "Approver", "Freeze", "Gate", "Runner", "S3Store", "Weekday", "same_name"]

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _public_key(text: str) -> str:
    """``text``, when it is a key in its one spelling.

    Raises:
        ValueError: when its base64 is not what an encoder writes.
    """
    PublicKey.parse(text)
    return text


def _approver_key(text: str) -> str:
    """The same of an approver's key, which may be an ssh key.

    Raises:
        ValueError: when the key is none, or of another kind than it says.
    """
    key_bytes(text)
    return text


def same_name(text: str) -> str:
    """A name as it is compared: nobody becomes another person by writing it in capitals."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


PublicKeyText = Annotated[str, Field(pattern=KEY_PATTERN), AfterValidator(_public_key)]
ApproverKeyText = Annotated[
    str,
    Field(
        pattern=r"^(ed25519:[A-Za-z0-9+/]{43}=|(sk-)?(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa)"
        r"(@openssh\.com)? [A-Za-z0-9+/=]+)$"
    ),
    AfterValidator(_approver_key),
]


class Runner(Strict):
    """A key that may speak for the predecessor."""

    name: Annotated[str, Field(min_length=2)]
    """Whose key it is: a pipeline, a machine."""
    key: PublicKeyText
    """Its public half, as `harness keys show` prints it."""


class Approver(Strict):
    """A person (or a protected CI environment) whose approval counts."""

    name: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")]
    """Who it is."""
    key: ApproverKeyText
    """Public key: `ed25519:...`, or `ssh-ed25519 AAAA...` as in an ssh .pub file."""
    accounts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names under which this person runs checklists (CI, this machine): who ran it cannot approve it."""

    @property
    def known_as(self) -> frozenset[str]:
        """Every name of this person, as names are compared."""
        return frozenset(same_name(name) for name in (self.name, *self.accounts))


class Approvals(Strict):
    """How many people must have approved, and who may."""

    count: Positive
    """How many different people."""
    approvers: Annotated[tuple[Approver, ...], Field(min_length=1)]
    """Who may approve."""


class Freeze(Strict):
    """A time in which nothing is let in."""

    reason: Annotated[str, Field(min_length=5)]
    """Why; the gate repeats it."""
    starts: dt.datetime | None = None
    """Its first moment, with a time zone; without one, `days` alone decide."""
    ends: dt.datetime | None = None
    """The moment after its last one."""
    days: tuple[Weekday, ...] = ()
    """Only on these days of the week, in UTC; none: on all."""


class S3Store(Strict):
    """A bucket of an S3-compatible store (needs the extra `s3`)."""

    endpoint: Url
    """Base URL of the store."""
    bucket: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """The bucket; it must exist, and should keep versions."""
    region: str = "us-east-1"
    """Region that requests are signed for."""
    access_key: SecretReference
    """Access key id."""
    secret_key: SecretReference
    """Secret access key."""


class Gate(Strict):
    """The gate of an environment. Without a predecessor, there is nothing that it could demand."""

    signing_key: SecretReference
    """Private ed25519 key that signs this environment's evidence and decisions."""
    public_key: PublicKeyText | None = None
    """Its public half: what it has signed is believed. Demanded of a predecessor, and with approvals."""
    runners: tuple[Runner, ...] = ()
    """Keys that may speak for the predecessor; evidence signed by another one is none."""
    signatures: Positive = 1
    """How many of them must have signed the evidence."""
    maximum_age_hours: Positive = 24
    """How old the predecessor's evidence may be."""
    undeployed_before: tuple[str, ...] = ()
    """Artefacts of a release that the predecessor does not deploy, and so cannot have tested."""
    approvals: Approvals | None = None
    """Who must have approved; without it, nobody has to."""
    freezes: tuple[Freeze, ...] = ()
    """Times in which nothing is let in."""
    evidence: Annotated[str, Field(min_length=1)] = ".harness/evidence"
    """Directory for evidence, reports, approvals and decisions, relative to the repository."""
    s3: S3Store | None = None
    """A bucket for them instead, where machines do not share a disk."""
    keep_days: Positive = 400
    """For how long evidence is kept."""
    keep_at_least: Positive = 20
    """How many of the newest runs are kept, however old."""
