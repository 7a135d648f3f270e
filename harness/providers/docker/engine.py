"""The gateway's containers on one machine, over its Docker engine: read back, and one change at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container as Handle

from harness.errors import DeadlineExceeded, DeployError, Unreachable
from harness.providers.docker.image import ask, digest_of
from harness.providers.docker.plan import Container, GatewayState, Slot, Version
from harness.providers.docker.shape import SHAPE, Shape, fingerprints, settings_print
from harness.providers.gateway_environment import Settings, reveal
from harness.redaction import redact
from harness.waiting import wait_until

__all__ = ["Engine", "NotReady"]

_CONFINED = """\
import json, os
try:
    open("/opt/gateway/app/written", "w").close()
    wrote = "it wrote to /opt/gateway/app"
except OSError as error:
    wrote = ""
print(json.dumps({"user": f"{os.getuid()}:{os.getgid()}", "wrote": wrote}))
"""
_LIVE = "/health/live"
_LIVE_SECONDS = 5.0
_STOP_SECONDS = 15
"""The gateway gives requests under way 8 s (its own default) when it is told to stop."""


class NotReady(DeployError):
    """What was started does not become ready: a reason to go back."""


def _answers(handle: Handle) -> bool:
    """Whether a gateway answers in it. One that runs is asked again for 5 s before it counts as dead.

    A single failed question may be the machine's (no room for another process just then), and a deploy
    that believed it would restart a gateway that serves.
    """

    def settled() -> bool:
        handle.reload()
        return handle.status != "running" or ask(handle, (_LIVE,)).get(_LIVE) == 200

    try:
        wait_until("an answer of the gateway", settled, seconds=_LIVE_SECONDS)
    except (DeadlineExceeded, NotFound):
        return False
    return bool(handle.status == "running")


class Engine:
    """The containers of the gateway on ``machine``. ``settings`` are those that a new one is given."""

    def __init__(self, machine: str, client: docker.DockerClient, shape: Shape, settings: Settings) -> None:
        self.machine, self.shape = machine, shape
        self._client, self._settings = client, settings

    # --- reading ---------------------------------------------------------------------------------

    def state(self, *, drained: bool) -> GatewayState:
        """The machine as it is; ``drained`` is what the balancer says of it.

        Raises:
            Unreachable: when its engine does not answer.
        """
        try:
            held = {slot: self._container(slot) for slot in Slot}
            serving = held[Slot.CURRENT] or held[Slot.NEXT]
            alive = serving is not None and _answers(serving)
            images = frozenset(d for i in self._client.images.list() if (d := self._digest(i.attrs)))
            known = {slot: self._known(handle) for slot, handle in held.items()}
        except (DockerException, OSError) as error:
            raise Unreachable(self.machine, f"its Docker engine: {redact(str(error))}") from error
        return GatewayState(
            self.machine,
            known[Slot.CURRENT],
            known[Slot.NEXT],
            known[Slot.PREVIOUS],
            alive,
            drained,
            images,
        )

    def live_settings(self) -> dict[str, str]:
        """Variable: fingerprint, of the serving container; empty when there is none."""
        handle = self._container(Slot.CURRENT)
        return fingerprints(handle.attrs["Config"]["Env"] or []) if handle else {}

    def attributes(self, slot: Slot = Slot.CURRENT) -> dict[str, Any]:
        """What the engine says of a container (`docker inspect`); empty when there is none."""
        handle = self._container(slot)
        return dict(handle.attrs) if handle else {}

    def _container(self, slot: Slot) -> Handle | None:
        try:
            return self._client.containers.get(f"{self.shape.name}{slot}")
        except NotFound:
            return None

    def _known(self, handle: Handle | None) -> Container | None:
        if handle is None:
            return None
        try:
            digest = self._digest(self._client.images.get(handle.attrs["Image"]).attrs)
        except ImageNotFound:
            digest = ""
        prints = fingerprints(handle.attrs["Config"]["Env"] or [])
        settings = settings_print(prints, str(handle.labels.get(SHAPE, "")))
        return Container(Version(digest or handle.attrs["Image"], settings), handle.status == "running")

    def _digest(self, attributes: Mapping[str, Any]) -> str:
        return digest_of(attributes, self.shape.reference)

    # --- changing: each may be done again ----------------------------------------------------------

    def pull(self, version: Version) -> None:
        """Fetch the image, unless it is here."""
        name = self.shape.reference.at(version.digest)
        try:
            self._client.images.get(name)
        except ImageNotFound:
            self._client.images.pull(name)

    def create(self, version: Version) -> None:
        """Create the candidate; it is not started."""
        if self._container(Slot.NEXT):
            return
        self._client.containers.create(
            self.shape.reference.at(version.digest),
            name=f"{self.shape.name}{Slot.NEXT}",
            environment={name: reveal(value) for name, value in self._settings.items()},
            labels={**self.shape.labels, SHAPE: self.shape.print},
            **self.shape.arguments(),
        )

    def stop(self) -> None:
        """Stop the serving container; requests under way get some seconds."""
        self._required(Slot.CURRENT).stop(timeout=_STOP_SECONDS)

    def start(self) -> None:
        """Start the candidate."""
        self._required(Slot.NEXT).start()

    def restart(self) -> None:
        """Start the serving container, or start it again."""
        self._required(Slot.CURRENT).restart(timeout=_STOP_SECONDS)

    def discard(self, slot: Slot) -> None:
        """Remove a container, running or not."""
        if handle := self._container(slot):
            handle.remove(force=True, v=True)

    def rename(self, old: Slot, new: Slot) -> None:
        """Give a container another part to play, unless it has it already."""
        if handle := self._container(old):
            handle.rename(f"{self.shape.name}{new}")

    def sweep(self, held: frozenset[str]) -> None:
        """Remove the gateway's images whose digest is not among ``held``."""
        for image in self._client.images.list():
            digest = self._digest(image.attrs)
            if digest and digest not in held:
                self._client.images.remove(self.shape.reference.at(digest))

    def gate(self) -> None:
        """Wait until what was started is ready and says that it is the release that it was given.

        Raises:
            NotReady: when it ends, starts again and again, or is not ready in time; says what it answered.
        """
        seen: dict[str, int | str] = {}
        handle = self._required(Slot.NEXT if self._container(Slot.NEXT) else Slot.CURRENT)
        restarts = handle.attrs["RestartCount"]
        release = _value(handle, "GATEWAY_RELEASE")

        def probe() -> bool:
            nonlocal seen
            handle.reload()
            if handle.status != "running" or handle.attrs["RestartCount"] > restarts:
                raise NotReady(
                    "gateway", f"{self.machine}: the container ended: {self._last_words(handle)}"
                )
            seen = ask(handle, ("/health/ready",))
            return seen == {"/health/ready": 200, "release": release}

        try:
            wait_until(f"{release} ready", probe, seconds=self.shape.ready_seconds)
        except DeadlineExceeded:
            what = f"{self.machine}: not ready as {release} within {self.shape.ready_seconds:g} s: {seen}"
            raise NotReady("gateway", f"{what}: {self._last_words(handle)}") from None

    def confinement(self) -> dict[str, Any]:
        """How the serving container is held: its user, whether it can write to its root, its flags."""
        handle = self._required(Slot.CURRENT)
        seen = _told_inside(handle, _CONFINED)
        host = handle.attrs["HostConfig"]
        return {
            **seen,
            "read_only": bool(host["ReadonlyRootfs"]),
            "privileged": bool(host["Privileged"]),
            "capabilities": sorted({"ALL"} - set(host["CapDrop"] or [])) + sorted(host["CapAdd"] or []),
            "gains_privileges": "no-new-privileges" not in " ".join(host["SecurityOpt"] or []),
            "mounts": sorted(mount["Destination"] for mount in handle.attrs["Mounts"]),
            "restarts": str(host["RestartPolicy"]["Name"]),
        }

    def trial(self, slot: Slot = Slot.CURRENT) -> dict[str, int | str]:
        """Start a second container as that of ``slot`` is, reached by nobody; what it answers to us."""
        like = self._required(slot)
        container = self._client.containers.create(
            like.attrs["Image"],
            environment=like.attrs["Config"]["Env"],
            **{**self.shape.arguments(), "ports": {}, "restart_policy": None, "log_config": None},
        )
        seen: dict[str, int | str] = {}

        def probe() -> bool:
            nonlocal seen
            container.reload()
            seen = ask(container, ("/health/live", "/health/ready")) or seen
            return seen.get("/health/ready") == 200 or container.status == "exited"

        try:
            container.start()
            wait_until("a trial container", probe, seconds=self.shape.ready_seconds)
        except DeadlineExceeded:
            return seen
        finally:
            container.remove(force=True, v=True)
        return seen

    def _required(self, slot: Slot) -> Handle:
        handle = self._container(slot)
        if handle is None:
            name = f"{self.shape.name}{slot}"
            raise DeployError("gateway", f"{self.machine}: the container {name} is gone", "run it again")
        return handle

    def _last_words(self, handle: Handle) -> str:
        try:
            said = handle.logs(tail=3).decode("utf-8", "replace").strip().splitlines()
        except APIError:  # this log driver cannot be read through the engine
            return "see its log"
        return redact(" | ".join(said))[-400:] or "it said nothing"


def _value(handle: Handle, name: str) -> str:
    """The value of a variable that is no secret."""
    pairs = (entry.partition("=") for entry in handle.attrs["Config"]["Env"] or [])
    return next((value for key, _, value in pairs if key == name), "")


def _told_inside(handle: Handle, program: str) -> dict[str, Any]:
    """What ``program`` prints inside the container, as JSON; nothing when it fails.

    Raises:
        DeployError: when it succeeds and its answer does not arrive, three times: a busy engine loses some.
    """
    for _ in range(3):
        status, output = handle.exec_run(["python", "-c", program])
        if status:
            return {}
        if isinstance(output, bytes) and output.strip():
            return dict(json.loads(output))
    hint = "look at the Docker engine there; run it again"
    raise DeployError("gateway", f"what the container {handle.name} says inside does not arrive", hint)
