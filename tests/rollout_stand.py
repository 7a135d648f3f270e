"""Two gateways and a load balancer of one's own: real containers of this machine's engine, a real haproxy.

What the containers run is a stand-in that answers as the gateway's health does and needs nothing else, so
that dozens of rollouts take seconds. The real gateway is rolled out by the rehearsal.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import httpx
import pytest
from docker.errors import DockerException, NotFound

from harness.docker_engine import connect
from harness.environment import Environment
from harness.environment.gateway import DockerGateway
from harness.environment.loader import load
from harness.errors import HarnessError
from harness.providers.docker import balancer as haproxy
from harness.providers.docker.balancer import Server, _say, parse_servers
from harness.providers.docker.engine import Engine
from harness.providers.docker.image import BuiltImage, Reference, push
from harness.providers.docker.plan import Slot, Step, Version
from harness.providers.docker.rollout import Rollout
from harness.providers.docker.shape import Shape, fingerprints, settings_print
from harness.waiting import wait_until
from tests.mortal import spawn
from tests.pg_fixture import free_port

__all__ = ["ROOT", "RolloutStand", "needs_engine", "rollout_stand"]

ROOT = Path(__file__).parents[1]
BASE = "python:3.11-slim"
LABEL = {"harness.dev": "rollout-stand"}
SERVE = """\
import os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("x-gateway-release", os.environ["GATEWAY_RELEASE"])
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments):
        pass

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("0.0.0.0", int(os.environ["GATEWAY_PORT"])), Handler).serve_forever()
"""
DOCKERFILE = f"""\
FROM {BASE}
RUN [ -e /usr/local/bin/python ] || ln -s "$(command -v python3)" /usr/local/bin/python
COPY serve.py /serve.py
CMD ["python", "-S", "/serve.py"]
"""


def why_not() -> str:
    """Why there can be no stand here; nothing when there can."""
    programs = [name for name in ("haproxy", "docker-registry") if not shutil.which(name, path=_PATH)]
    if programs:
        return f"no {' and no '.join(programs)} here (Debian: apt install {' '.join(programs)})"
    try:
        client = connect(timeout=10)
    except HarnessError as error:
        return str(error)
    with contextlib.closing(client):
        try:
            client.images.get(BASE)
        except DockerException:
            return f"no image {BASE} here (`harness rehearsal up` makes a stand-in)"
    return ""


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
REQUIRED = "HARNESS_REQUIRE_REHEARSAL"
"""Where this is set, a machine that cannot have a stand is a failure, and nothing is skipped."""
_REASON = why_not()
needs_engine = pytest.mark.skipif(
    bool(_REASON) and not os.environ.get(REQUIRED), reason=_REASON or "there is one"
)


@dataclass
class LocalBalancer:
    """haproxy of this machine, asked over its own socket."""

    socket: Path

    def servers(self) -> list[Server]:
        said = [_say("here", self.socket, command) for command in ("show servers state", "show stat")]
        return parse_servers(*said)

    def drain(self, name: str) -> None:
        self._set(name, "drain")

    def undrain(self, name: str) -> None:
        self._set(name, "ready")

    def _set(self, name: str, state: str) -> None:
        for backend in haproxy.BACKENDS:
            said = _say("here", self.socket, f"set server {backend}/{name} state {state}")
            assert not said.strip(), said


@dataclass
class RolloutStand:
    """The stand. ``images`` are digests by name: a, b, c and bad (which ends when it starts)."""

    balancer: LocalBalancer
    url: str
    shapes: dict[str, Shape]
    images: dict[str, str] = field(default_factory=dict)
    release: str = "gateway@0"
    """What the next containers are told that they are."""

    def settings(self) -> dict[str, str]:
        return {
            "GATEWAY_PORT": "8000",
            "GATEWAY_ALLOWED_HOSTS": "127.0.0.1",
            "GATEWAY_RELEASE": self.release,
        }

    def version(self, image: str) -> Version:
        """A version of ``image`` with the present settings; the shape differs by machine in its address."""
        prints = fingerprints([f"{name}={value}" for name, value in self.settings().items()])
        (shape,) = {settings_print(prints, shape.print) for shape in self.shapes.values()}
        return Version(self.images[image], shape)

    def rollout(self, before: Callable[[Step], None] = lambda _: None) -> Rollout:
        client = docker.from_env(timeout=60)
        engines = {
            name: Engine(name, client, shape, dict(self.settings())) for name, shape in self.shapes.items()
        }
        return Rollout(engines, self.balancer, drain_seconds=5, before=before)

    def forked(self, image: str, before: Callable[[Step], None]) -> int:
        """The process of a rollout to ``image``, in a fork of this one."""
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            self.rollout(before).run(self.version(image))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def run(self, image: str, kill_before: int | None = None) -> bool:
        """Roll ``image`` out in a process of its own, killed before a step; whether it came to its end."""
        taken = iter(range(10_000))

        def before(_: Step) -> None:
            if next(taken) == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)

        _, status = os.waitpid(self.forked(image, before), 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the rollout failed"
        return not os.WIFSIGNALED(status)

    def answer(self) -> httpx.Response:
        """What a client gets through the balancer."""
        return httpx.get(f"{self.url}/health/ready", verify=False, timeout=10.0, trust_env=False)  # noqa: S501

    def running(self) -> dict[str, str]:
        """Machine: name of the image that its serving container runs, or nothing."""
        names = {digest: name for name, digest in self.images.items()}
        states = self.rollout().states()
        return {
            s.machine: names[s.current.version.digest] for s in states if s.current and s.current.running
        }


@pytest.fixture(scope="session")
def rollout_stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolloutStand]:
    """A stand for the tests of this process; every container, image name and process goes with it."""
    assert not _REASON, _REASON
    directory = tmp_path_factory.mktemp("rollout")
    with contextlib.ExitStack() as held:
        client = held.enter_context(contextlib.closing(docker.from_env(timeout=120)))
        registry = held.enter_context(_registry(directory))
        environment = _environment(registry)
        stand = RolloutStand(
            LocalBalancer(directory / "haproxy.sock"),
            environment.gateway.url,
            _shapes(environment),
        )
        held.callback(_remove, client, stand.shapes.values())
        for name in ("a", "b", "c", "bad"):
            built = _built(client, name)
            for shape in stand.shapes.values():
                stand.images[name] = push(client, built, shape.reference)
            client.images.remove(built.id, force=True)  # a rollout fetches it
        held.enter_context(_haproxy(environment, directory))
        yield stand


def _built(client: docker.DockerClient, name: str) -> BuiltImage:
    text = DOCKERFILE + (f"LABEL stand={name}\n" if name != "bad" else 'CMD ["python", "-c", "exit(1)"]\n')
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in (("Dockerfile", text), ("serve.py", SERVE)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    buffer.seek(0)
    image, _ = client.images.build(fileobj=buffer, custom_context=True, labels=LABEL, rm=True)
    return BuiltImage(str(image.id), f"x@{name}")


def _environment(registry: str) -> Environment:
    """environments/production.yaml, whose gateways are loopback addresses of this machine."""
    environment = load("production", ROOT).environment
    assert environment.machines is not None
    addresses = {"gateway-1": "127.0.0.21", "gateway-2": "127.0.0.22"}
    hosts = tuple(
        host.model_copy(update={"private_address": addresses.get(host.name, "127.0.0.9")})
        for host in environment.machines.hosts
    )
    gateway = environment.gateway.model_copy(
        update={"url": f"https://127.0.0.1:{free_port()}", "port": free_port(), "registry": registry}
    )
    machines = environment.machines.model_copy(update={"hosts": hosts})
    return environment.model_copy(update={"machines": machines, "gateway": gateway})


def _shapes(environment: Environment) -> dict[str, Shape]:
    assert environment.machines is not None and isinstance(environment.gateway, DockerGateway)
    return {
        name: StandShape(
            # of its own, since the machines share an engine: what one removes is not the other's
            Reference(environment.gateway.registry, f"stand/{name}"),
            "10001:10001",
            environment.gateway.port,
            bind=environment.machines.host(name).private_address or "",
            name=f"stand-{os.getpid()}-{name}",
            logs="json-file",
            ready_seconds=20.0,
            labels=LABEL,
        )
        for name in ("gateway-1", "gateway-2")
    }


class StandShape(Shape):
    """A version is the same on both machines, though on one engine their addresses differ."""

    @property
    def print(self) -> str:
        return "stand"


@contextlib.contextmanager
def _haproxy(environment: Environment, directory: Path) -> Iterator[None]:
    text = haproxy.configuration(environment)
    certificate = directory / "gateway.pem"
    _certificate(certificate)
    for line in ("chroot /var/lib/haproxy", "user haproxy", "group haproxy"):
        text = text.replace(f"    {line}\n", "")
    port = free_port()
    text = text.replace(f"user {environment.machines.ssh.user} " if environment.machines else "-", "")
    text = text.replace("bind :80\n", f"bind 127.0.0.1:{port}\n").replace("bind :", "bind 127.0.0.1:")
    text = text.replace(haproxy.SOCKET, str(directory / "haproxy.sock"))
    text = text.replace("/etc/haproxy/tls/gateway.pem", str(certificate))
    text = text.replace("inter 1s fastinter 250ms downinter 500ms", "inter 200ms")
    (directory / "haproxy.cfg").write_text(text)
    program = shutil.which("haproxy", path=_PATH) or "haproxy"
    argv = [program, "-W", "-db", "-f", str(directory / "haproxy.cfg")]
    with (directory / "haproxy.log").open("wb") as log:
        process = spawn(argv, stdout=log, stderr=log)
    try:
        wait_until(
            "haproxy",
            (directory / "haproxy.sock").exists,
            seconds=20,
            seen=(directory / "haproxy.log").read_text,
        )
        yield
    finally:
        process.terminate()
        process.wait(10)


def _certificate(path: Path) -> None:
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    argv += ["-subj", "/CN=127.0.0.1", "-days", "2", "-keyout", f"{path}.key", "-out", f"{path}.crt"]
    subprocess.run(argv, check=True, capture_output=True)
    path.write_text(Path(f"{path}.crt").read_text() + Path(f"{path}.key").read_text())


@contextlib.contextmanager
def _registry(directory: Path) -> Iterator[str]:
    port = free_port()
    configuration = directory / "registry.yml"
    configuration.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: of-a-test}}\n"
    )
    with (directory / "registry.log").open("wb") as log:
        process = spawn(["docker-registry", "serve", str(configuration)], stdout=log, stderr=log)
    try:
        wait_until(
            "the registry",
            lambda: httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).is_success,
            seconds=20,
            errors=(httpx.TransportError,),
        )
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _remove(client: docker.DockerClient, shapes: Iterable[Shape]) -> None:
    """Everything of the stand in the engine."""
    for shape in shapes:
        for slot in Slot:
            with contextlib.suppress(NotFound):
                client.containers.get(f"{shape.name}{slot}").remove(force=True, v=True)
    for image in client.images.list():
        names = [*(image.attrs.get("RepoTags") or []), *(image.attrs.get("RepoDigests") or [])]
        if any(name.startswith(f"{shape.reference.name}") for shape in shapes for name in names):
            client.images.remove(image.id, force=True)
