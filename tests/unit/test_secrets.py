"""Secrets: how they are found, what is refused, and that nothing shows them by accident."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import os
import pickle
import threading
import traceback
from pathlib import Path

import pydantic
import pytest
from pydantic_core import PydanticSerializationError
from rich.console import Console
from rich.pretty import Pretty
from rich.traceback import Traceback

from harness.errors import ConfigurationError
from harness.secrets import Secret, SecretStore, parse_reference

VALUE = "s3ntinel-value-of-a-secret"


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(tmp_path, tmp_path / "state")


def problem(store: SecretStore, reference: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        store.resolve(reference)
    return str(caught.value.problems[0])


# --- it never shows ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Holder:
    key: Secret


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    key: Secret


def shown_by_logging(secret: Secret) -> str:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s %r", (secret, secret), None)
    return logging.Formatter().format(record)


def shown_by_a_traceback(secret: Secret) -> str:
    key = secret
    try:
        raise ValueError(key)
    except ValueError as error:
        plain = "".join(traceback.format_exception(error))
        console = Console(width=200, record=True, quiet=True)
        console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
        return plain + console.export_text()


def shown_by_rich(secret: Secret) -> str:
    console = Console(width=200, record=True, quiet=True)
    console.print(secret, Pretty(secret), [secret])
    return console.export_text()


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        ascii,
        lambda secret: f"{secret} {secret!r} {secret!s} {secret:>40}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - this way too
        "{0} {0!r} {0:^40}".format,
        lambda secret: str([secret]) + str({"k": secret}) + str({secret}) + str((secret,)),
        lambda secret: repr(Holder(secret)) + str(dataclasses.asdict(Holder(secret))),
        lambda secret: repr(Model(key=secret)) + str(Model(key=secret).model_dump()),
        lambda secret: json.dumps({"k": secret}, default=str),
        lambda secret: repr(copy.copy(secret)) + repr(copy.deepcopy([secret])),
        lambda secret: str(dir(secret)),
        shown_by_logging,
        shown_by_a_traceback,
        shown_by_rich,
    ],
)
def test_no_text_of_it_shows_the_value(show) -> None:
    text = show(Secret(VALUE, "env:KEY"))
    assert VALUE not in text
    assert "s3ntinel" not in text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="a secret is not written down") as caught:
        pickle.dumps(Secret(VALUE), protocol)
    assert VALUE not in str(caught.value)
    with pytest.raises(TypeError, match="a secret is not written down"):
        Secret(VALUE).__getstate__()


def test_json_and_vars_refuse_it() -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps({"k": Secret(VALUE)})
    assert VALUE not in str(caught.value)
    with pytest.raises(TypeError):
        vars(Secret(VALUE))
    with pytest.raises(PydanticSerializationError) as unserialisable:
        Model(key=Secret(VALUE)).model_dump_json()
    assert VALUE not in str(unserialisable.value)


def test_it_compares_and_reveals() -> None:
    assert Secret(VALUE) == Secret(VALUE, "env:OTHER")
    assert Secret(VALUE) != Secret(VALUE + "x")
    assert Secret(VALUE) != VALUE
    assert len({Secret(VALUE), Secret(VALUE)}) == 1
    assert Secret(VALUE).reveal() == VALUE


# --- references --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["env:NAME", "env:A1_B", "file:key", "file:~/k", "file:/run/a b", "local:x_1"]
)
def test_a_reference_is_accepted(text: str) -> None:
    assert parse_reference(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "env:", "env:lower", "env:NAME\n", "env:A B", "ENV:NAME", "vault:x", VALUE),
        *("file:", "file: x", "file:a\nb", "file:a\0b", "local:X", "local:../x", "local:x/y"),
    ],
)
def test_anything_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="a secret is written as a reference") as caught:
        parse_reference(text)
    assert VALUE not in str(caught.value)


# --- env: --------------------------------------------------------------------------------------------


def test_a_variable(store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", VALUE + "\n")
    assert store.resolve("env:THE_KEY").reveal() == VALUE
    monkeypatch.setenv("THE_KEY", "changed later")
    assert store.resolve("env:THE_KEY").reveal() == VALUE, "one run, one value"


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_variable_that_is_not_set(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("THE_KEY", value)
    assert problem(store, "env:THE_KEY") == "env:THE_KEY: the environment variable THE_KEY is not set"


def test_a_value_too_short_to_be_masked_is_refused(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "abcde")
    message = problem(store, "env:THE_KEY")
    assert "is shorter than 6 characters: it could not be kept out of reports" in message
    assert "abcde" not in message


# --- file: -------------------------------------------------------------------------------------------


def secret_file(path: Path, text: str = VALUE, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_relative_absolute_and_behind_a_link(store: SecretStore, tmp_path: Path) -> None:
    path = secret_file(tmp_path / "key", VALUE + "\n")
    (tmp_path / "link").symlink_to(path)
    for reference in ("file:key", f"file:{path}", "file:link"):
        assert store.resolve(reference).reveal() == VALUE


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o777])
def test_a_file_that_others_can_read_is_refused(store: SecretStore, tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path / "key", mode=mode)
    expected = f"file:key: {path} can be read by others (mode {mode:04o}) (chmod 600 {path})"
    assert problem(store, "file:key") == expected
    (tmp_path / "link").symlink_to(path)
    assert "can be read by others" in problem(store, "file:link")


def test_files_that_are_no_secret(store: SecretStore, tmp_path: Path) -> None:
    secret_file(tmp_path / "empty", " \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "binary").chmod(0o600)
    secret_file(tmp_path / "huge", "x" * 70_000)
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    expected = {
        "missing": "cannot read missing: No such file or directory (create it, mode 0600)",
        "empty": "empty is empty (put the secret into it)",
        "binary": "cannot read binary: UnicodeDecodeError",
        "huge": "huge is larger than 64 KiB (is it a secret?)",
        "folder": "folder is not a file",
        "pipe": "pipe is not a file",
        "~no-such-user-here/x": "cannot read ~no-such-user-here/x: ",
    }
    for name, message in expected.items():
        assert message in problem(store, f"file:{name}")


# --- local: ------------------------------------------------------------------------------------------


def test_a_generated_secret_is_kept_for_its_owner_alone(store: SecretStore, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        value = store.resolve("local:password").reveal()
    finally:
        os.umask(before)
    path = tmp_path / "state" / "secrets" / "password"
    assert len(value) >= 40
    assert path.read_text() == value
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["password"]
    assert SecretStore(tmp_path, tmp_path / "state").resolve("local:password").reveal() == value
    assert store.resolve("local:other").reveal() != value


def test_loosened_permissions_are_refused_and_left_as_they_are(store: SecretStore, tmp_path: Path) -> None:
    """Tightened in silence, nobody would ever learn that others could read it."""
    store.resolve("local:password")
    path = tmp_path / "state" / "secrets" / "password"
    path.chmod(0o644)
    with pytest.raises(ConfigurationError) as caught:
        SecretStore(tmp_path, tmp_path / "state").resolve("local:password")
    assert f"{path} can be read by others (mode 0644) (chmod 600 {path}" in str(caught.value)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o600)
    assert SecretStore(tmp_path, tmp_path / "state").resolve("local:password").reveal()


def test_a_secret_that_is_no_text_is_one_clear_error(store: SecretStore, tmp_path: Path) -> None:
    store.resolve("local:password")
    (tmp_path / "state" / "secrets" / "password").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"cannot read .*password: UnicodeDecodeError"):
        SecretStore(tmp_path, tmp_path / "state").resolve("local:password")


def test_of_many_that_race_all_get_the_same(tmp_path: Path) -> None:
    barrier = threading.Barrier(16)
    seen: list[str] = []

    def run() -> None:
        store = SecretStore(tmp_path, tmp_path / "state")
        barrier.wait(30)
        seen.append(store.resolve("local:password").reveal())

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 16
    assert len(set(seen)) == 1


def test_everything_that_is_missing_is_said_with_its_place(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESENT_KEY", VALUE)
    wanted = {
        "web.token": "env:NO_SUCH_KEY",
        "gateway.ssh_key": "file:nowhere",
        "web.error_dsn": "env:PRESENT_KEY",
    }
    assert [str(p) for p in store.missing(wanted)] == [
        "web.token: the environment variable NO_SUCH_KEY is not set",
        "gateway.ssh_key: cannot read nowhere: No such file or directory (create it, mode 0600)",
    ]
