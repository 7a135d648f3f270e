"""Attacks on release.json: what people are shown must be what would run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.attestation.strict_json import Malformed
from harness.release import Release
from tests.attack.stand import IMAGE, write_tree
from tests.promotion_stand import Deposit
from tests.release_tree import commit

DROP = "20260201000000_drop.sql"


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    root = write_tree(tmp_path / "tree")
    (root / "supabase" / "migrations" / DROP).write_text("drop table public.notes;\n")
    commit(root, "drop")
    made = Deposit(root)
    made.approve()
    return made


def forged(deposit: Deposit, **changes: Any) -> Path:
    """A release.json with other lists, whose name and digest are made to fit."""
    release = deposit.stand.release
    made = Release(
        changes.get("artefacts", release.artefacts),
        release.source,
        changes.get("missing", release.missing),
        changes.get("migrations", release.migrations),
    )
    path = deposit.root.parent / "release.json"
    made.write(path)
    return path


def asked(deposit: Deposit, path: Path) -> tuple[int, str, str]:
    """Exit, what was printed, and the decision page."""
    done = deposit.harness("gate", "check", "--env", "production", "--release", str(path), "--page")
    pages = sorted((deposit.root / ".harness" / "production" / "promotions").glob("*/index.html"))
    return done.returncode, done.stdout + done.stderr, "".join(page.read_text() for page in pages)


def test_the_honest_file_opens_and_shows_the_sql(deposit: Deposit) -> None:
    code, told, page = asked(deposit, forged(deposit))
    assert code == 0, told
    assert "drop table public.notes;" in page


def test_a_list_of_migrations_that_was_emptied(deposit: Deposit) -> None:
    code, told, page = asked(deposit, forged(deposit, migrations={}))
    assert code == 1
    assert f"this tree is not the release: migration {DROP} is sha256:" in told
    assert "it is about another release" in told
    assert "drop table public.notes;" in page and "None would run." not in page


def test_a_migration_with_another_digest(deposit: Deposit) -> None:
    lists = {**deposit.stand.release.migrations, DROP: "sha256:" + "0" * 64}
    assert f"migration {DROP} is sha256:" in asked(deposit, forged(deposit, migrations=lists))[1]


def test_migrations_in_another_order(deposit: Deposit) -> None:
    lists = dict(reversed(deposit.stand.release.migrations.items()))
    assert "the migrations are in another order" in asked(deposit, forged(deposit, migrations=lists))[1]


def test_another_story_about_what_is_missing(deposit: Deposit) -> None:
    artefacts = {n: d for n, d in deposit.stand.release.artefacts.items() if n != "rollbacks"}
    path = forged(deposit, artefacts=artefacts, missing={"rollbacks": "nothing to worry about"})
    code, told, _ = asked(deposit, path)
    assert code == 1
    assert "rollbacks is sha256:" in told
    one, other = (Release({}, missing={"web-build": reason}) for reason in ("a", "b"))
    assert one.digest != other.digest
    assert one.differences(other) == ["web-build is missing: b, instead of a"]


@pytest.mark.parametrize(
    "file",
    [
        "/root/.ssh/id_ed25519",
        "../../secret.sql",
        "20260201000000_drop.sql\n",
        "20260201000000_drop.sql/../../../id",
        "\u0662\u0660\u0662\u0666\u0660\u0662\u0660\u0661\u0660\u0660\u0660\u0660\u0660\u0660_drop.sql",
        "\x1b[8mhidden\x1b[0m",
        "20260201000000_Drop.sql",
    ],
)
def test_a_migration_that_is_no_name_of_one_is_never_read(deposit: Deposit, file: str) -> None:
    path = forged(deposit, migrations={file: "sha256:" + "0" * 64})
    code, told, page = asked(deposit, path)
    assert code == 4
    assert "release.json: not a release: migrations.0.file" in told
    assert "\x1b" not in told and not page


def test_no_file_outside_is_shown(deposit: Deposit, tmp_path: Path) -> None:
    """Even to whoever builds the value by hand: the page reads the tree."""
    from harness.promotion_view import look

    (tmp_path / "id").write_text("SENTINEL-PRIVATE-KEY")
    promotion = deposit.promotion()
    release = deposit.stand.release
    promotion.release = Release(
        release.artefacts, release.source, {}, {str(tmp_path / "id"): "sha256:" + "0" * 64}
    )
    view = look(promotion, promotion.decide(), None)
    assert "SENTINEL" not in repr(view)
    assert [m.file for m in view.migrations] == list(release.migrations)


@pytest.mark.parametrize(
    "edit",
    [
        {"missing": {"web-build": "\x1b[2J"}},
        {"missing": {"\x1b[2J": "x"}},
        {"missing": {"web-build": "a\nb"}},
        {"missing": {"web-build": "\u009b2J"}},
        {"artefacts": {"\x1b[2J": IMAGE}},
        {"source": {"commit": "", "dirty": True, "changed": ["\x1b[2J"]}},
    ],
)
def test_nothing_in_it_moves_a_cursor(deposit: Deposit, edit: dict[str, Any]) -> None:
    document = {**deposit.stand.release.as_dict(), **edit}
    with pytest.raises(Malformed, match="not a release: "):
        Release.parse(json.dumps(document).encode())


def test_escapes_in_history_are_shown_as_what_they_are(deposit: Deposit) -> None:
    deposit.ran_in_production(
        "20260304T120000Z-a", lambda p: p["predicate"].update(by="x\x1b[1A\x1b[2Kgood")
    )
    told = deposit.harness("history", "--env", "production").stdout
    assert "\x1b" not in told
    assert "x\\x1b[1A\\x1b[2Kgood" in told


# --- a release.json of another commit ------------------------------------------


def test_a_stale_release_file_is_named(deposit: Deposit) -> None:
    release = deposit.stand.release
    release.write(deposit.root / "release.json")
    (deposit.root / "README").write_text("x")
    commit(deposit.root, "one more")
    done = deposit.harness("gate", "check", "--env", "production")
    assert done.returncode == 1
    of = f"{release.name} of {release.source.commit[:12]}"
    what = f"release.json is {of}, not this tree, and was passed over"
    assert what in done.stdout
    told = json.loads(deposit.harness("gate", "check", "--env", "production", "--json").stdout)
    assert what in told["passed_over"]
    assert any(what in reason["what"] for reason in told["reasons"]), "it is why there is no image"


def test_a_release_file_that_is_none_is_named(deposit: Deposit) -> None:
    (deposit.root / "release.json").write_text('{"schema": 2}')
    done = deposit.harness("gate", "check", "--env", "production")
    assert done.returncode == 1
    assert "release.json: not a release: " in done.stdout
    assert "it was passed over" in done.stdout


def test_nothing_is_said_where_there_is_nothing_to_say(deposit: Deposit) -> None:
    deposit.stand.release.write(deposit.root / "release.json")
    assert "passed over" not in deposit.harness("gate", "check", "--env", "production").stdout
