"""Whose key is pinned for what: a person is one entry, a key speaks for one environment."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import pytest

from harness.environment.loader import load
from tests.attack.stand import DANA, EVE, LOCAL_RUNNER, RUNNER
from tests.unit.environment_files import edit, line_of, problems, project

PIPELINE = "ed25519:XqAK4D/MMDfNqHaEIBl9nqD5Vo/tCmeHhoFfTU70es4="  # pinned for staging
LOCAL = "ed25519:8g+o6/jsjqPzx/P1MGLiUGw8UcyK1TiaKWowL01pPbc="
DANAS = "ed25519:oxnzNgMU8XX+z7diabDgMXnAbcJ3fP1myq6UYQ7K3r8="
OWN_PRODUCTION = "ed25519:YkRkjaDLdls0crtfIMbTVfGVHe8m4xSvn/BDG0BftWo="
HINT = "(every environment has a key of its own: harness keys new makes one)"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return project(tmp_path)


def as_ssh(key: str) -> str:
    """The same key as it stands in an ssh .pub file."""
    raw = base64.b64decode(key.partition(":")[2])
    blob = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + raw
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def other_spelling(key: str) -> str:
    """The same bytes in base64 that no encoder writes: the last character has two bits to spare."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return f"{key[:-2]}{alphabet[alphabet.index(key[-2]) ^ 1]}="


def production_says(root: Path, text: str, what: str) -> None:
    """The one problem of production.yaml, at the first line that holds ``text``."""
    (problem,) = problems(root, "production")
    where, _, told = problem.partition(": ")
    assert where.startswith(f"environments/production.yaml:{line_of(root, 'production', text)}:"), problem
    assert told.startswith(what), problem


# --- spelling ------------------------------------------


@pytest.mark.parametrize(
    ("key", "field"),
    [
        (PIPELINE, "gate.runners[0].key"),
        (DANAS, "gate.approvals.approvers[0].key"),
        (OWN_PRODUCTION, "gate.public_key"),
    ],
)
def test_a_key_has_one_spelling(root: Path, key: str, field: str) -> None:
    strange = other_spelling(key)
    edit(root, "production", (key, strange))
    production_says(root, strange, f"{field}: is not base64 as an encoder writes it")


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("ssh-ed25519 AAAA", "is no ssh-ed25519 key: it says something else inside"),
        ("ssh-ed25519 AAAAB", "an ssh key is its kind and base64, as in a .pub file"),
        (as_ssh(DANAS).replace("ssh-ed25519 ", "ssh-rsa "), "is no ssh-rsa key"),
    ],
)
def test_an_ssh_key_that_is_none(root: Path, key: str, what: str) -> None:
    edit(root, "production", (DANAS, key))
    production_says(root, key, f"gate.approvals.approvers[0].key: {what}")


# --- one person, one entry ------------------------------------------


def approvers(root: Path, *more: tuple[str, str, str]) -> None:
    """Other approvers beside dana: name, key, accounts."""
    lines = "".join(
        f"      - name: {name}\n        key: {key}\n        accounts: [{accounts}]\n"
        for name, key, accounts in more
    )
    edit(root, "production", ("  freezes:\n", f"{lines}  freezes:\n"))


def test_two_people_load(root: Path) -> None:
    approvers(root, ("eve", EVE.public.text, "eve-at-forge"))
    gate = load("production", root).environment.gate
    assert gate.approvals and len(gate.approvals.approvers) == 3


def test_one_key_in_two_spellings(root: Path) -> None:
    edit(root, "production", ("    count: 1", "    count: 2"))
    approvers(root, ("eve", as_ssh(DANAS), "eve"))
    what = "gate.approvals.approvers[2].key: stands here twice (dana has it)"
    production_says(root, as_ssh(DANAS), what)


def test_names_that_differ_in_capitals(root: Path) -> None:
    approvers(root, ("DANA", EVE.public.text, "eve"))
    what = "gate.approvals.approvers[2].name: dana is dana too: two entries for one person"
    production_says(root, "DANA", what)


@pytest.mark.parametrize("accounts", ["ada, dana", "Dana", "eve, DANA"])
def test_accounts_that_overlap(root: Path, accounts: str) -> None:
    approvers(root, ("eve", EVE.public.text, accounts))
    what = "gate.approvals.approvers[2].accounts: dana is dana too: two entries for one person"
    production_says(root, f"[{accounts}]", what)


def test_an_approver_with_the_key_of_a_run(root: Path) -> None:
    edit(root, "production", (DANAS, as_ssh(PIPELINE)))
    production_says(root, as_ssh(PIPELINE), "gate.approvals.approvers[0].key: is that of a runner")


def test_an_approver_with_the_key_of_the_environment_itself(root: Path) -> None:
    edit(root, "production", (DANAS, OWN_PRODUCTION))
    (problem,) = problems(root, "production")
    assert "gate.approvals.approvers[0].key: is that of a runner" in problem


def test_an_approver_with_the_key_of_another_environments_run(root: Path) -> None:
    edit(root, "production", (DANAS, LOCAL))
    production_says(root, LOCAL, "gate.approvals.approvers[0].key: is that of a runner")


# --- one key, one environment ------------------------------------------


def test_one_key_for_local_and_for_staging(root: Path) -> None:
    """Who holds it could sign staging's pass on a laptop."""
    edit(root, "production", (PIPELINE, LOCAL))
    what = f"gate.runners[0].key: also speaks for local, in environments/staging.yaml {HINT}"
    production_says(root, LOCAL, what)
    edit(root, "production", (LOCAL, PIPELINE))
    edit(root, "staging", (LOCAL, PIPELINE))
    found = problems(root, "staging")
    assert any(
        "gate.runners[0].key: also speaks for staging, in environments/production" in p for p in found
    )


def test_one_key_for_an_environment_and_its_predecessor(root: Path) -> None:
    edit(root, "production", (OWN_PRODUCTION, PIPELINE))
    (one, other) = problems(root, "production")
    assert one.endswith(f"gate.public_key: also speaks for staging {HINT}")
    assert other.endswith(f"gate.public_key: also speaks for staging, in environments/staging.yaml {HINT}")


def test_a_copied_environment_needs_a_key_of_its_own(root: Path) -> None:
    text = (root / "environments" / "production.yaml").read_text()
    (root / "environments" / "mirror.yaml").write_text(
        text.replace("environment: production", "environment: mirror")
    )
    (problem,) = problems(root, "mirror")
    assert "gate.public_key: also speaks for production, in environments/production.yaml" in problem


def test_a_neighbour_that_is_no_environment_is_passed_over(root: Path) -> None:
    for name, content in (
        ("a", b"\xff"),
        ("b", b"- 1\n"),
        ("c", b"gate: {runners: [1, {key: 2}, {key: x}]}\n"),
    ):
        (root / "environments" / f"{name}.yaml").write_bytes(content)
    (root / "environments" / "d.yaml").mkdir()
    (root / "environments" / "e.yaml").write_bytes(b"#" * 300_000)
    assert load("production", root).environment.gate.runners


# --- what others rely on is pinned ------------------------------------------


def test_a_predecessor_pins_its_key(root: Path) -> None:
    edit(root, "staging", (f"  public_key: {PIPELINE}", "  # public_key:"))
    (problem,) = problems(root, "staging")
    assert "gate.public_key: is missing, and production relies on its evidence (pin the public" in problem


def test_who_asks_for_approvals_pins_its_key(root: Path) -> None:
    edit(root, "production", (f"  public_key: {OWN_PRODUCTION}", "  # public_key:"))
    (problem,) = problems(root, "production")
    assert "gate.public_key: is missing, and its approvers are shown what runs here" in problem


def test_a_key_that_each_machine_makes_cannot_be_pinned(root: Path) -> None:
    """local is staging's predecessor; staging pins the machines that may speak for it."""
    gate = load("local", root).environment.gate
    assert gate.public_key is None and gate.signing_key.startswith("local:")


def test_the_keys_of_the_tests_are_four() -> None:
    assert len({key.public for key in (RUNNER, LOCAL_RUNNER, DANA, EVE)}) == 4
