"""What is stated, and in which shape: in-toto Statement v1 around one of three predicates.

* the result of a run: https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md,
  with what a gate needs beside it (environment, times, what was expected, what was left out, the report)
* an approval: a person has read this report about this evidence
* a decision: https://slsa.dev/spec/v1.1/verification_summary

The models are strict: an unknown field is refused, since a gate that ignores what it does not know can be
told something that it does not hear.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from harness.attestation import strict_json
from harness.attestation.strict_json import Malformed

__all__ = [
    "APPROVAL",
    "SUMMARY",
    "TEST_RESULT",
    "Approval",
    "Configuration",
    "Digest",
    "Input",
    "Policy",
    "Statement",
    "Subject",
    "Summary",
    "TestResult",
    "Verifier",
    "WaiverRecord",
    "read",
    "stamp",
    "write",
]

TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
SUMMARY = "https://slsa.dev/verification_summary/v1"
APPROVAL = "https://chat.example/attestation/approval/v1"

Text = Annotated[str, Field(max_length=20_000)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _exists(text: str) -> str:
    """``text``, when the calendar knows it.

    Raises:
        ValueError: when it does not: month 13, the thirtieth of February.
    """
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("names a time that does not exist") from None
    return text


_DATE, _TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "[0-9]{2}:[0-9]{2}:[0-9]{2}"
Day = Annotated[str, Field(pattern=f"^{_DATE}$"), AfterValidator(_exists)]
Timestamp = Annotated[str, Field(pattern=f"^{_DATE}T{_TIME}Z$"), AfterValidator(_exists)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, populate_by_name=True
    )


class Digest(_Model):
    """Exactly one of a sha256 and a git commit."""

    sha256: Sha256 | None = None
    gitCommit: Annotated[str, Field(pattern="^([0-9a-f]{40}|[0-9a-f]{64})$")] | None = None

    @property
    def text(self) -> str:
        """``sha256:...`` or ``gitCommit:...``; several or none are no digest."""
        if (self.sha256 is None) == (self.gitCommit is None):
            raise Malformed("has a digest that is not exactly one of sha256 and gitCommit")
        return f"sha256:{self.sha256}" if self.sha256 else f"gitCommit:{self.gitCommit}"

    @classmethod
    def of(cls, text: str) -> Digest:
        """The digest that ``text`` writes."""
        kind, _, value = text.partition(":")
        return cls(sha256=value) if kind == "sha256" else cls(gitCommit=value)


class Subject(_Model):
    """One thing that is stated about."""

    name: Name
    digest: Digest


class Configuration(_Model):
    """What a run was configured by."""

    name: Name
    digest: Digest


class WaiverRecord(_Model):
    """A waiver that the environment file held when the run began."""

    check: Name
    owner: Name
    reason: Text
    expires: Day
    where: Text = ""
    tests: tuple[Name, ...] = ()
    """The tests that passed by it."""
    findings: tuple[Text, ...] = ()
    """What they found, and it accepts."""


class TestResult(_Model):
    """How a run ended. Tests are named ``file: scenario [row]``."""

    __test__ = False  # for pytest: this is no test

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: tuple[Configuration, ...]
    passed_tests: tuple[Name, ...]
    warned_tests: tuple[Name, ...]
    failed_tests: tuple[Name, ...]
    # extensions
    environment: Name
    run: Name
    mode: Literal["deploy", "verify-only"]
    by: Text
    started_on: Timestamp
    finished_on: Timestamp
    expected_tests: tuple[Name, ...]
    skipped_tests: tuple[Name, ...]
    reasons: tuple[Text, ...]
    waivers: tuple[WaiverRecord, ...]
    overrides: tuple[Text, ...]
    arguments: tuple[Text, ...] = ()
    """What pytest was told."""
    dirty: bool
    undeployed: tuple[Name, ...]
    release: Name
    report_digest: Digest


class Approval(_Model):
    """A person has read the report and lets the release in."""

    environment: Name
    promotion: Name
    release: Name
    approver: Name
    approved_on: Timestamp


class Verifier(_Model):
    """Who decided."""

    id: Name


class Policy(_Model):
    """By which file it was decided."""

    uri: Name
    digest: Digest


class Input(_Model):
    """An attestation that was looked at."""

    uri: Name
    digest: Digest


class Summary(_Model):
    """A decision of the gate."""

    verifier: Verifier
    time_verified: Timestamp
    resource_uri: Name
    policy: Policy
    input_attestations: tuple[Input, ...]
    verification_result: Literal["PASSED", "FAILED"]
    verified_levels: tuple[Name, ...]
    slsa_version: Literal["1.1"] = "1.1"
    # extension
    reasons: tuple[Text, ...] = ()


P = TypeVar("P", TestResult, Approval, Summary)


class Statement(_Model, Generic[P]):
    """An in-toto Statement v1."""

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = (
        "https://in-toto.io/Statement/v1"
    )
    subject: Annotated[tuple[Subject, ...], Field(min_length=1)]
    predicate_type: Name
    predicate: P


def read(payload: bytes, predicate: type[P], predicate_type: str) -> Statement[P]:
    """The statement in ``payload``, which must be of exactly this type. Verify first, then read.

    Raises:
        Malformed: when it is none.
    """
    found = strict_json.loads(payload)
    if isinstance(found, dict) and found.get("predicateType") != predicate_type:
        raise Malformed(f"is of type {str(found.get('predicateType'))[:120]!r}, not {predicate_type}")
    try:
        generic: Any = Statement
        statement: Statement[P] = generic[predicate].model_validate_json(strict_json.dumps(found))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the statement"
        raise Malformed(f"{where}: {first['msg'].lower()}") from None
    for subject in statement.subject:
        _ = subject.digest.text  # a digest that is none must not come to be compared
    return statement


def write(statement: Statement[P]) -> bytes:
    """The payload that is signed: the same statement, the same bytes."""
    return strict_json.dumps(statement.model_dump(mode="json", by_alias=True, exclude_none=True))


def stamp(moment: dt.datetime) -> str:
    """``moment`` as RFC 3339 in UTC, to the second."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
