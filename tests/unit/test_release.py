"""A release is its artefacts' digests and its commit; the file says nothing else than what it is."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from harness.artefacts import IMAGE, TREE
from harness.errors import HarnessError
from harness.provenance import Source, source
from harness.release import Release, image_digest, schema_text
from tests.release_tree import change, commit, git, make_tree

IMAGE_DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def test_the_same_tree_makes_the_same_release_twice(tree: Path) -> None:
    one, other = Release.build(tree, IMAGE_DIGEST), Release.build(tree, IMAGE_DIGEST)
    assert one.as_dict() == other.as_dict()
    assert set(one.artefacts) == {*TREE, IMAGE}
    assert not one.missing and not one.source.dirty
    assert one.name == f"release-{one.digest[7:19]}"
    assert one.subjects["source"] == f"gitCommit:{git(tree, 'rev-parse', 'HEAD').strip()}"


def test_another_checkout_of_the_commit_makes_the_same_release(tree: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(tree), "other")
    assert Release.build(tree).as_dict() == Release.build(tmp_path / "other").as_dict()


@pytest.mark.parametrize(
    ("file", "artefact"),
    [
        ("features/gateway.feature", "checklist"),
        ("steps/words.py", "checklist"),
        ("gateway/app.py", "gateway-source"),
        ("requirements-gateway.txt", "gateway-source"),
        ("Dockerfile", "gateway-source"),
        ("web/package-lock.json", "web-build"),
        ("supabase/migrations/20260101000000_first.sql", "migrations"),
        ("supabase/rollbacks/20260101000000_first.sql", "rollbacks"),
        ("inference/engines/vllm.yaml", "inference-configuration"),
        ("inference/models.yaml", "model-manifest"),
    ],
)
def test_a_changed_file_is_another_artefact_and_a_dirty_tree(tree: Path, file: str, artefact: str) -> None:
    before = Release.build(tree)
    change(tree, file)
    after = Release.build(tree)
    assert after.source.dirty
    assert after.source.changed == (file,)
    assert before.artefacts[artefact] != after.artefacts[artefact]
    assert any(line.startswith(f"{artefact} is ") for line in before.differences(after))
    assert f"the tree has uncommitted changes: {file}" in before.differences(after)
    commit(tree, "change")
    assert not Release.build(tree).source.dirty
    assert Release.build(tree).digest not in (before.digest, after.digest)


def test_a_file_that_git_does_not_know_makes_a_tree_dirty(tree: Path) -> None:
    (tree / "gateway" / "extra.py").write_text("pass\n")
    assert Release.build(tree).source.changed == ("gateway/extra.py",)


def test_migrations_are_listed_in_their_order(tree: Path) -> None:
    second = tree / "supabase" / "migrations" / "20260102000000_second.sql"
    second.write_text("select 2;\n")
    names = list(Release.build(tree).migrations)
    assert names == ["20260101000000_first.sql", "20260102000000_second.sql"]


def test_what_the_tree_lacks_is_said(tree: Path) -> None:
    git(tree, "rm", "-r", "--quiet", "web")
    missing = Release.build(tree).missing
    assert missing["web-build"] == "there is no web in this tree"
    assert "--image" in missing[IMAGE]


def test_outside_a_repository_no_commit_names_it(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "a.feature").write_text("Feature: A\n")
    release = Release.build(tmp_path)
    assert release.source == Source()
    assert "source" not in release.subjects


def test_it_is_read_as_it_was_written(tree: Path, tmp_path: Path) -> None:
    release = Release.build(tree, f"registry.example/chat/gateway@{IMAGE_DIGEST}")
    release.write(tmp_path / "release.json")
    assert Release.read(tmp_path / "release.json") == release
    assert release.image == IMAGE_DIGEST
    jsonschema.validate(json.loads((tmp_path / "release.json").read_text()), json.loads(schema_text()))


@pytest.mark.parametrize(
    "edit",
    [
        {"artefacts": {"web-build": "sha256:" + "b" * 64}},
        {"artefacts": {"web-build": "sha256:zz"}},
        {"name": "release-of-mine"},
        {"schema": 1},
        {"source": {"commit": "", "dirty": "no", "changed": []}},
        {"note": "approved"},
        {"artefacts": ["web-build"]},
        {"migrations": [{"file": "x.sql"}]},
    ],
)
def test_a_file_that_says_something_else_is_refused(
    tree: Path, tmp_path: Path, edit: dict[str, object]
) -> None:
    path = tmp_path / "release.json"
    Release.build(tree).write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))
    with pytest.raises(HarnessError, match=r"release\.json: "):
        Release.read(path)


def test_no_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="harness release build"):
        Release.read(tmp_path / "release.json")


@pytest.mark.parametrize("image", ["chat/gateway:1.2", "chat/gateway", "sha256:abc", "x@sha1:" + "a" * 40])
def test_an_image_without_a_digest_is_refused(image: str) -> None:
    with pytest.raises(HarnessError, match="names no digest"):
        image_digest(image)


def test_a_tree_of_which_git_cannot_say_whether_it_is_clean_is_not(tree: Path) -> None:
    (tree / "gateway" / "app.py").write_text("evil = True\n")
    (tree / ".git" / "index").write_bytes(b"garbage")
    found = source(tree)
    assert found.commit and found.dirty
    assert found.changed[0].startswith("git cannot say what differs: ")


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_INDEX_FILE"])
def test_the_environment_cannot_make_git_speak_of_another_repository(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    other = make_tree(tmp_path / "other")
    change(other, "gateway/app.py")
    commit(other, "another commit")
    change(tree, "gateway/app.py")
    monkeypatch.setenv(variable, str(other / ".git" / ("index" if "INDEX" in variable else "")))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    found = source(tree)
    monkeypatch.undo()
    assert found == Source(git(tree, "rev-parse", "HEAD").strip(), True, ("gateway/app.py",))
