"""Secrets: references, their resolution, and a type that never shows its value.

A reference is written in an environment file as ``env:NAME``, ``file:PATH`` or ``local:NAME``. The last
kind is generated on first use and kept, readable by its owner alone, in the state directory; it exists so
that a fresh checkout runs without a person inventing passwords.

Every value that is resolved is redacted from then on (harness.redaction), in every encoding.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets as _random
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from harness.errors import ConfigurationError, Problem
from harness.redaction import MASK, SHORTEST, encodings, redact, redact_tree, register

__all__ = [
    "MASK",
    "REFERENCE_PATTERN",
    "Secret",
    "SecretStore",
    "encodings",
    "parse_reference",
    "redact",
    "redact_tree",
    "register",
]

REFERENCE_PATTERN = r"^(env:[A-Z][A-Z0-9_]*|file:\S.*|local:[a-z][a-z0-9_]*)$"
_REFERENCE = re.compile(REFERENCE_PATTERN)
_LARGEST_FILE = 64 * 1024


class Secret:
    """A value that never shows itself: every text of it is masked, ``reveal`` is explicit.

    It cannot be pickled, since a pickle is a file with the value in it.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str = "") -> None:
        self._value, self.reference = value, reference
        register(value)

    def reveal(self) -> str:
        """The secret itself, for the one place that must send it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.reference or MASK})"

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return format(str(self), specification)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and _random.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not written down: pass its reference instead")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not written down: pass its reference instead")


def parse_reference(text: str) -> str:
    """``text`` if it is a secret reference.

    Raises:
        ValueError: when it is anything else; the message never repeats the text, which may be a secret.
    """
    if not _REFERENCE.fullmatch(text) or not text.isprintable():
        raise ValueError("a secret is written as a reference: env:NAME, file:PATH or local:NAME")
    return text


class SecretStore:
    """Resolves references. ``root`` anchors relative ``file:`` paths, ``state`` keeps ``local:`` values."""

    def __init__(self, root: Path, state: Path) -> None:
        self._root, self._state = root, state
        self._lock = threading.Lock()
        self._values: dict[str, Secret] = {}

    def resolve(self, reference: str) -> Secret:
        """The secret behind ``reference``.

        Raises:
            ConfigurationError: when it is missing, empty, too short to be redacted, unreadable or readable
                by others; names the reference, not a value.
        """
        with self._lock:
            if reference not in self._values:
                value = self._read(reference)
                if len(value) < SHORTEST:
                    what = f"is shorter than {SHORTEST} characters: it could not be kept out of reports"
                    raise _missing(reference, what, "use a longer one")
                self._values[reference] = Secret(value, reference)
            return self._values[reference]

    def missing(self, references: Mapping[str, str]) -> list[Problem]:
        """A problem for each of ``references`` (place: reference) that cannot be resolved."""
        problems: list[Problem] = []
        for where, reference in references.items():
            try:
                self.resolve(reference)
            except ConfigurationError as error:
                problems += [Problem(where, item.what, item.hint) for item in error.problems]
        return problems

    def _read(self, reference: str) -> str:
        kind, _, name = parse_reference(reference).partition(":")
        if kind == "env":
            value = os.environ.get(name, "").strip()
            if not value:
                raise _missing(reference, f"the environment variable {name} is not set", "")
            return value
        if kind == "file":
            return self._read_file(reference, name)
        return self._generated(reference, name)

    def _read_file(self, reference: str, name: str) -> str:
        try:
            path = self._root / Path(name).expanduser()
            value = _read_private(reference, path).strip()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~nobody-of-that-name
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise _missing(reference, f"cannot read {name}: {reason}", "create it, mode 0600") from None
        if not value:
            raise _missing(reference, f"{name} is empty", "put the secret into it")
        return value

    def _generated(self, reference: str, name: str) -> str:
        """The secret ``name`` of this machine, made when it does not exist yet."""
        path = self._state / "secrets" / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        if not path.exists():
            part = path.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}")
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(_random.token_urlsafe(32))
            with contextlib.suppress(FileExistsError):
                os.link(part, path)  # never replaces: of two runs that race, both read the first one's
            part.unlink()
        try:  # never made private again in silence: whoever could read it may have it
            return _read_private(reference, path).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise _missing(reference, f"cannot read {path}: {reason}", "") from None


def _read_private(reference: str, path: Path) -> str:
    """The text of a regular file that nobody else can read; opened once, so that it cannot be swapped."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _missing(reference, f"{path} is not a file", "name a file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise _missing(
                reference, f"{path} can be read by others (mode {mode:04o})", f"chmod 600 {path}"
            )
        if status.st_size > _LARGEST_FILE:
            raise _missing(
                reference, f"{path} is larger than {_LARGEST_FILE // 1024} KiB", "is it a secret?"
            )
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(_LARGEST_FILE).decode("utf-8")
    finally:
        os.close(descriptor)


def _missing(reference: str, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError([Problem(reference, what, hint)], title="secrets")
