"""Honest variations: a gate that shuts out what is right is switched off by its users."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

from harness.environment.gate import Approver, Freeze
from tests.attack.stand import DANA, EVE, NOW, OTHER_RUNNER, RUNNER, Stand
from tests.attack.test_approvals import allowing
from tests.attack.test_evidence import accepting


def test_a_clean_pass_with_an_approval(honest: Stand) -> None:
    honest.is_let_in()
    assert honest.decide().approved_by == ("dana",)


def test_an_approval_by_ssh_key(honest: Stand, ssh: Path) -> None:
    replace(honest, approvals=[honest.approval("sam", ssh)]).is_let_in()


def test_the_second_runner_key(honest: Stand) -> None:
    replace(honest.ran(signers=[OTHER_RUNNER]), approvals=[]).approved().is_let_in()


def test_a_signature_of_a_stranger_beside_the_right_one(honest: Stand) -> None:
    replace(honest.ran(signers=[EVE, RUNNER]), approvals=[]).approved().is_let_in()


def test_no_key_id(honest: Stand) -> None:
    envelope = json.loads(honest.evidence.raw)
    del envelope["signatures"][0]["keyid"]
    stand = honest.carrying(json.dumps(envelope).encode())
    replace(stand, approvals=[]).approved().is_let_in()


def test_the_other_alphabet_of_base64(honest: Stand) -> None:
    envelope = json.loads(honest.evidence.raw)
    payload = base64.b64decode(envelope["payload"])
    envelope["payload"] = base64.urlsafe_b64encode(payload).decode()
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    envelope["signatures"][0]["sig"] = base64.urlsafe_b64encode(signature).decode()
    stand = honest.carrying(json.dumps(envelope).encode())
    replace(stand, approvals=[]).approved().is_let_in()


def test_an_envelope_that_was_written_over_several_lines(honest: Stand) -> None:
    stand = honest.carrying(json.dumps(json.loads(honest.evidence.raw), indent=4).encode())
    replace(stand, approvals=[]).approved().is_let_in()


def test_a_clock_that_is_a_minute_ahead(honest: Stand) -> None:
    late = replace(
        honest.ran(lambda p: p["predicate"].update(finishedOn="2026-03-04T12:00:59Z")), approvals=[]
    )
    late.approved(at=NOW + dt.timedelta(seconds=59)).is_let_in()


def test_evidence_that_is_nearly_too_old(honest: Stand) -> None:
    replace(honest, now=NOW + dt.timedelta(hours=10, minutes=59)).is_let_in()


def test_a_waiver_on_its_last_day(honest: Stand) -> None:
    accepting(honest, "2026-03-04").is_let_in()


def test_a_freeze_that_is_over_and_one_on_another_day(honest: Stand) -> None:
    over = Freeze(reason="the year ended", starts=NOW - dt.timedelta(days=9), ends=NOW)
    honest.gate(freezes=(over, Freeze(reason="weekends", days=("sat", "sun")))).is_let_in()


def test_two_people_where_two_are_asked_for(honest: Stand) -> None:
    people = (Approver(name="dana", key=DANA.public.text), Approver(name="eve", key=EVE.public.text))
    stand = allowing(honest, 2, *people)
    stand.approved("eve", EVE).is_let_in()
    assert stand.approved("eve", EVE).decide().approved_by == ("dana", "eve")


def test_a_void_approval_beside_a_good_one(honest: Stand) -> None:
    replace(honest, approvals=[b"{}", *honest.approvals]).is_let_in()


def test_an_environment_that_asks_for_no_approval(honest: Stand) -> None:
    replace(honest.gate(approvals=None), approvals=[]).is_let_in()


def test_another_promotion_was_used(honest: Stand) -> None:
    replace(honest, used={"f" * 32: "begun yesterday"}).is_let_in()


def test_an_artefact_that_the_predecessor_lacks_where_that_is_accepted(honest: Stand) -> None:
    stand = honest.gate(undeployed_before=("gateway-image",))
    ran = stand.ran(lambda payload: payload["predicate"].update(undeployed=["gateway-image"]))
    replace(ran, approvals=[]).approved().is_let_in()


def test_an_environment_without_a_predecessor_asks_for_nothing(honest: Stand) -> None:
    first = honest.environment.model_copy(update={"predecessor": None})
    replace(honest, environment=first, evidence=None, approvals=[]).is_let_in()
