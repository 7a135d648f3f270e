"""What the loader refuses, with the message that a person gets."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

import pytest

from harness.environment.loader import LARGEST, load
from harness.errors import ConfigurationError
from tests.unit.environment_files import ROOT, edit, line_of, problems, project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return project(tmp_path)


@pytest.mark.parametrize("name", ["local", "staging", "production"])
def test_the_environments_of_the_project_load(name: str) -> None:
    loaded = load(name, ROOT)
    assert loaded.environment.environment == name
    assert re.fullmatch(rf"environments/{name}.yaml:\d+:\d+", loaded.where("gateway.limits.request_tokens"))


def test_loading_takes_less_than_50_ms() -> None:
    load("local", ROOT)
    started = time.process_time()
    for _ in range(5):
        load("local", ROOT)
    assert (time.process_time() - started) / 5 < 0.05


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("stagign", "did you mean staging?"),
        ("prod", "did you mean production?"),
        ("LOCAL", "did you mean local?"),
        ("qqq", "one of: local, production, rehearsal, staging"),
        ("", "one of: local, production, rehearsal, staging"),
        ("a\0b", "one of: local, production, rehearsal, staging"),
    ],
)
def test_an_unknown_environment_names_the_nearest(root: Path, name: str, hint: str) -> None:
    assert problems(root, name) == [f"--env: there is no environment {name!r} ({hint})"]


@pytest.mark.parametrize(
    "name",
    [
        "environments/staging.yaml",
        "staging.yaml",
        "../environments/staging",
        "/somewhere/staging.yaml",
        "x/staging.yml",
    ],
)
def test_a_path_is_no_environment(root: Path, name: str) -> None:
    what = "is a path; an environment is called by its name, and is environments/NAME.yaml"
    assert problems(root, name) == [f"--env: {name!r} {what} (did you mean staging?)"]


def test_a_symbolic_link_is_not_followed(root: Path) -> None:
    real = root / "elsewhere.yaml"
    (root / "environments" / "local.yaml").rename(real)
    (root / "environments" / "local.yaml").symlink_to(real)
    assert problems(root) == ["environments/local.yaml: is a symbolic link (name a file)"]


def test_a_linked_folder_is_not_followed(root: Path) -> None:
    (root / "environments").rename(root / "elsewhere")
    (root / "environments").symlink_to(root / "elsewhere")
    (problem,) = problems(root)
    assert "is reached through" in problem and "which is a symbolic link" in problem


def test_the_content_is_that_of_the_file_that_was_read(root: Path) -> None:
    loaded = load("local", root)
    (root / "environments" / "local.yaml").write_text("changed: since\n")
    assert loaded.content == (ROOT / "environments" / "local.yaml").read_bytes()
    assert loaded.digest == f"sha256:{hashlib.sha256(loaded.content).hexdigest()}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "environments/bad.yaml: is empty (docs/environments.md says what belongs into it)"),
        (b"  \n\n", "environments/bad.yaml: is empty (docs/environments.md says what belongs into it)"),
        (
            b"\xef\xbb\xbfschema: 1\n",
            "environments/bad.yaml:1:1: begins with a byte order mark (save it as UTF-8 without BOM)",
        ),
        (b"schema: 1\nab\xff: 1\n", "environments/bad.yaml:2:3: is not UTF-8 (save it as UTF-8)"),
        (b"- a\n", "environments/bad.yaml:1: must be a mapping (key: value lines) "),
        (b"just words\n", "environments/bad.yaml:1: must be a mapping (key: value lines) "),
        (b"# only a comment\n", "environments/bad.yaml:1: must be a mapping (key: value lines) "),
        (
            b"#" * (LARGEST + 1),
            "environments/bad.yaml: is larger than 256 KiB (is it an environment file?)",
        ),
    ],
)
def test_a_file_that_is_none(root: Path, content: bytes, message: str) -> None:
    (root / "environments" / "bad.yaml").write_bytes(content)
    (problem,) = problems(root, "bad")
    assert problem.startswith(message)


def test_a_directory_a_pipe_and_a_missing_file(root: Path) -> None:
    (root / "environments" / "folder.yaml").mkdir()
    assert problems(root, "folder") == ["environments/folder.yaml: is a directory (name a file)"]
    os.mkfifo(root / "environments" / "pipe.yaml")
    assert problems(root, "pipe") == ["environments/pipe.yaml: is not a file (name a file)"]
    (root / "environments" / "loop.yaml").symlink_to("loop.yaml")
    assert problems(root, "loop") == ["environments/loop.yaml: is a symbolic link (name a file)"]


def test_an_unreadable_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)  # chmod would not stop root
    assert problems(root) == ["environments/local.yaml: cannot be read: Permission denied"]


# --- YAML's traps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "drills: true",
            "drills: yes",
            "drills: yes is a truth value to some readers and a word to others ",
        ),
        (
            "drills: true",
            "drills: Off",
            "drills: Off is a truth value to some readers and a word to others ",
        ),
        ("drills: true", "drills: True", "drills: True is written in lower case (write true)"),
        ("drills: true", "drills:", "drills: has no value (give it one, or remove the line)"),
        ("port: 8000", "port: 017500", "gateway.port: is a number that readers disagree about "),
        ("port: 8000", "port: 0x1F40", "gateway.port: is a number that readers disagree about "),
        ("port: 8000", "port: 8_000", "gateway.port: is a number that readers disagree about "),
        ("port: 8000", "port: 2:13:20", "gateway.port: is a number that readers disagree about "),
        ("port: 8000", "port: 8e3", "gateway.port: is a number that readers disagree about "),
        ("port: 8000", "port: .inf", "gateway.port: is a number that readers disagree about "),
        ("port: 8000", "port: " + "9" * 5000, "gateway.port: is a number that readers disagree about "),
        ("port: 8000", "port: &p 8000", "anchors and aliases are refused "),
        ("port: 8000", "port: *p", "gateway.port: anchors and aliases are refused "),
        ("port: 8000", "<<: {port: 8000}", "merge keys are refused (write the values out)"),
        ("port: 8000", "port: !!int 8000", "YAML tags are refused (write plain values)"),
        ("port: 8000", "port: !!python/object:os.system x", "YAML tags are refused (write plain values)"),
        (
            "drills: true",
            "drills: true\n---\na: 1",
            "a second document begins here (one file, one environment)",
        ),
        ("drills: true", "drills: true\ndrills: false", "drills stands here twice: first in line "),
        ("  port: 8000", "\tport: 8000", "a tab in the indentation (indent with spaces)"),
        ("drills: true", "drills: {a: [1, 2", "is not YAML: "),
        ("drills: true", "drills: [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]", "nested deeper than 12 levels "),
        ("drills: true", "3: true", "the key '3' is not a word (quote it if it is meant)"),
        ("drills: true", "? [a, b]\n: true", "a key is a word, not a collection (write a word)"),
        ("drills: true", '"drills\\0x": true', "is not a known key"),
    ],
)
def test_a_trap_of_yaml_is_refused(root: Path, old: str, new: str, message: str) -> None:
    edit(root, "local", (old, new))
    found = problems(root)
    matching = [problem for problem in found if message in problem]
    assert matching, found
    assert re.match(r"environments/local\.yaml:\d+:\d+: ", matching[0])


def test_a_hundred_thousand_open_brackets_are_refused_quickly(root: Path) -> None:
    (root / "environments" / "deep.yaml").write_text("a: " + "[" * 100_000)
    assert any("nested deeper than 12 levels" in problem for problem in problems(root, "deep"))


def test_a_duplicate_does_not_hide_what_is_below_it(root: Path) -> None:
    edit(root, "local", ("web:\n", "gateway:\n  port: 1\n\nweb:\n"))
    (problem,) = problems(root)
    first = line_of(root, "local", "gateway:")
    assert f"gateway stands here twice: first in line {first}" in problem


# --- the model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  request_tokens:",
            "  request_token:",
            "gateway.limits.request_token: is not a known key (did you mean ",
        ),
        (
            "provider: local\n  url: http://127.0.0.1:8000",
            "provider: lokal\n  url: x",
            "did you mean local?",
        ),
        (
            "engine: llamacpp",
            "engine: lamacpp",
            "instant.engine: is not one of its values (did you mean llamacpp?)",
        ),
        (
            "engine: llamacpp",
            "engine: x",
            "instant.engine: is not one of its values (one of: llamacpp, vllm, url)",
        ),
        ("port: 8000", "port: 8000.5", "gateway.port: must be a whole number"),
        ("port: 8000", "port: '8000'", "gateway.port: must be a whole number"),
        ("port: 8000", "port: 0", "gateway.port: input should be greater than or equal to 1"),
        ("port: 8000", "port: 70000", "gateway.port: input should be less than or equal to 65535"),
        ("schema: 1", "schema: 2", "schema: must be 1"),
        ("drills: true", "drills: 1", "drills: must be true or false"),
        (
            "name: smollm2-135m-instruct",
            "name: 3.10",
            'instant.model.name: must be text; unquoted, it reads as a number (quote it: "3.10")',
        ),
        ("name: smollm2-135m-instruct", "name: [a]", "instant.model.name: must be text"),
        ("drills: true\n", "", "drills: is missing (Whether checks may stop and kill things here to see"),
        (
            "url: http://127.0.0.1:8000",
            "url: 127.0.0.1:8000",
            "gateway.url: a URL begins with http:// or https://",
        ),
        ("url: http://127.0.0.1:8000", "url: http://", "gateway.url: a URL names a host"),
        (
            "url: http://127.0.0.1:8000",
            "url: http://a:b@c",
            "gateway.url: a URL holds no user name and no password",
        ),
        ("url: http://127.0.0.1:8000", "url: 'http://[::1'", "gateway.url: "),
        ("url: http://127.0.0.1:8000", "url: http://a:99999", "gateway.url: "),
        ("url: http://127.0.0.1:8000", "url: http://a/?x=1", "gateway.url: a base URL ends before ? and #"),
        (
            "metrics_token: local:metrics_token",
            "metrics_token: s3cr3t-in-clear",
            "gateway.metrics_token: a secret is",
        ),
        (
            "metrics_token: local:metrics_token",
            "metrics_token: 55555555",
            "must be a secret reference; it reads as a",
        ),
        ("environment: local", "environment: Local!", "environment: string should match pattern"),
        ("drills: true", "drills: true\nwaivers: none", "waivers: must be a list"),
    ],
)
def test_the_model_refuses(root: Path, old: str, new: str, message: str) -> None:
    edit(root, "local", (old, new))
    found = problems(root)
    matching = [problem for problem in found if message in problem]
    assert matching, found
    assert re.match(r"environments/local\.yaml:\d+", matching[0])
    assert len(found) == 1, found
    assert not any("s3cr3t" in problem or "55555555" in problem for problem in found)


def test_without_a_provider_all_of_them_are_named(root: Path) -> None:
    edit(root, "local", ("provider: local\n  url: http://127.0.0.1:8000", "url: http://127.0.0.1:8000"))
    where = line_of(root, "local", "gateway:")
    expected = f"environments/local.yaml:{where}:1: gateway: provider is missing (one of: local, docker)"
    assert problems(root) == [expected]


def test_a_misspelt_key_is_one_problem_at_its_line(root: Path) -> None:
    edit(root, "staging", ("database_host:", "databse_host:"))
    where = line_of(root, "staging", "databse_host")
    expected = f"environments/staging.yaml:{where}:3: supabase.databse_host: is not a known key"
    assert problems(root, "staging") == [f"{expected} (did you mean database_host?)"]


def test_every_problem_is_reported_at_once_in_the_order_of_the_file(root: Path) -> None:
    edit(
        root,
        "local",
        ("schema: 1", "schema: 3"),
        ("postgres_major: 17", "postgres_major: 16"),
        ("engine: llamacpp", "engine: vlm"),
        ("port: 8000", "port: yes"),
        ("mode: production", "mood: production"),
        ("drills: true", "drills: true\ndrills: true"),
    )
    found = problems(root)
    assert len(found) == 6, found
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == sorted(lines)


def test_a_waiver_is_checked_field_by_field(root: Path) -> None:
    waiver = "waivers:\n  - check: GW-3\n    reason: short\n    ower: me\n    expires: tomorrow\n"
    edit(root, "local", ("drills: true\n", f"drills: true\n{waiver}"))
    text = "\n".join(problems(root))
    assert "waivers[0].reason: string should have at least 10 characters" in text
    assert "waivers[0].ower: is not a known key (did you mean owner?)" in text
    assert "waivers[0].expires: must be a date such as 2027-01-31" in text


def test_a_date_is_not_a_number_of_seconds(root: Path) -> None:
    waiver = "waivers:\n  - {check: GW-3, reason: long enough, owner: me, expires: 20270131}\n"
    edit(root, "local", ("drills: true\n", f"drills: true\n{waiver}"))
    assert any("waivers[0].expires: " in problem for problem in problems(root))


def test_the_error_names_the_file_and_counts(root: Path) -> None:
    edit(root, "local", ("schema: 1", "schema: 3"))
    with pytest.raises(
        ConfigurationError, match=r"environment local: 1 problem\n  environments/local.yaml:4:"
    ):
        load("local", root)
