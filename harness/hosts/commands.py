"""What a command on a machine says and how it ends."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.secrets import redact

__all__ = ["CommandFailed", "CommandResult", "last_words"]


@dataclass(frozen=True)
class CommandResult:
    """What a command on a machine printed, and its exit status."""

    machine: str
    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")

    def require(self) -> CommandResult:
        """This result, if the command succeeded.

        Raises:
            CommandFailed: naming machine, command and its last words.
        """
        if self.status:
            raise CommandFailed(self)
        return self


class CommandFailed(HarnessError):
    """A command on a machine ended with another status than 0."""

    def __init__(self, result: CommandResult) -> None:
        self.result = result
        said = redact(result.stderr.decode("utf-8", "replace").strip())[-400:]
        super().__init__(
            f"{result.machine}: `{shlex.join(result.argv)}` ended with {result.status}: {said}"
        )


def last_words(stderr: bytes) -> str:
    """ssh's last line: what went wrong, in its own words."""
    lines = redact(stderr.decode("utf-8", "replace")).strip().splitlines()
    for line in lines:
        if "HOST IDENTIFICATION HAS CHANGED" in line or "Host key verification failed" in line:
            return "its host key is not the pinned one (see machines.ssh.known_hosts)"
    return lines[-1].strip() if lines else "ssh said nothing"
