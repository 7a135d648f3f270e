"""The web app at Vercel: built here, uploaded as a deployment that serves nobody, then led to by a domain.

Every deployment carries in its metadata which release it is, and a digest of all that it was made from
and runs with. So what serves can be compared, an interrupted deploy goes on where it stopped, and a release
that served before is not built again: it is rolled back to.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from harness.environment.web import VercelWeb as Settings
from harness.errors import DeployError
from harness.providers import web_build
from harness.providers.base import Deployment, KeptDeployment, Plan, Progress
from harness.providers.cloud.vercel_api import Deployed, Project, Variable, VercelApi
from harness.providers.cloud.vercel_build import VercelBuild
from harness.providers.cloud.vercel_cli import VercelCli
from harness.providers.cloud.vercel_project import require_domain, require_open, require_ours
from harness.providers.cloud.vercel_serving import Serving
from harness.providers.local.node import find_node
from harness.providers.vendor_api import deploying
from harness.stack import Stack

__all__ = ["DIGEST", "RELEASE", "VercelWeb"]

RELEASE, DIGEST = "harnessRelease", "harnessDigest"
"""The keys of a deployment's metadata."""
_PLAIN = ("GATEWAY_URL",)
"""Variables that are no secrets: Vercel shows their value, so it can be compared."""
_UNDER_WAY = ("QUEUED", "INITIALIZING", "BUILDING", "READY")


@dataclass(frozen=True)
class _Seen:
    """What there is: the deployment that serves, one of this very digest, and variables that are wrong."""

    project: Project
    live: Deployed | None
    made: Deployed | None
    wrong: dict[str, str]

    def serves(self, digest: str) -> bool:
        """Whether nothing has to change."""
        return self.live is not None and self.live.meta.get(DIGEST) == digest and not self.wrong


class VercelWeb:
    """Implements :class:`harness.providers.base.ComponentProvider`, Prepares, and the way back."""

    component = "web"

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        if not isinstance(stack.environment.web, Settings):
            raise TypeError("the environment does not declare a Vercel project")
        self.settings = stack.environment.web

    @property
    def api(self) -> VercelApi:
        """The project's REST API."""
        settings = self.settings
        client, token = self._stack.http(settings.management_url), self._stack.secret(settings.token)
        return VercelApi(client, token, settings.project, settings.team)

    @property
    def host(self) -> str:
        """The host that people go to."""
        return self.settings.domain or urlsplit(self.settings.url).hostname or ""

    # --- deploying -------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Compare what serves, and the project's variables, with the declaration. Reads only."""
        digest, release = self._digest(), web_build.release(self._stack)
        with self._deploying():
            seen = self._look(digest)
        changes = [f"set {name} ({what})" for name, what in seen.wrong.items()]
        if not seen.serves(digest):
            running = seen.live.meta.get(RELEASE, "an unknown release") if seen.live else "nothing"
            changes += [] if seen.made else [f"build {release}", f"upload {release}"]
            changes.append(f"lead {self.host} to {release} (now: {running})")
        return Plan(self.component, digest, tuple(changes))

    def prepare(self, progress: Progress) -> None:
        """Build, when a build is needed; Vercel is only read.

        Raises:
            DeployError: as the deploy would.
        """
        digest = self._digest()
        with self._deploying():
            seen = self._look(digest)
            if not seen.serves(digest) and not seen.made:
                self._build(digest).make(self._stack, self._cli(seen.project), progress)

    def deploy(self, progress: Progress) -> Deployment:
        """Set variables, build and upload what is not there yet, lead the domain to it.

        Raises:
            DeployError: when it cannot; says at what and what to do.
        """
        started, digest = time.monotonic(), self._digest()
        with self._deploying():
            done = list(self._deployed(digest, progress))
        return Deployment(self.component, digest, tuple(done), time.monotonic() - started)

    def _deployed(self, digest: str, progress: Progress) -> Iterator[str]:
        seen, release = self._look(digest), web_build.release(self._stack)
        for name in seen.wrong:
            value = web_build.server_environment(self._stack)[name]
            self.api.set_variable(name, value, _kind(name), self.settings.target)
            yield f"set {name}"
        if seen.serves(digest):
            return
        made = seen.made.id if seen.made else ""
        if not made:
            build, cli = self._build(digest), self._cli(seen.project)
            build.make(self._stack, cli, progress)
            progress(f"uploading {release}")
            made = build.upload(cli, {RELEASE: release, DIGEST: digest})
            yield f"built and uploaded {release}"
        progress(f"leading {self.host} to {release}")
        self._serving(seen.project).lead_to(made)
        yield f"led {self.host} to {release} ({made})"

    # --- the way back ----------------------------------------------------------------------------

    def serving(self) -> KeptDeployment | None:
        """What the domain leads to."""
        live = self.api.deployment(self.host)
        return self._kept(live) if live else None

    def previous(self) -> KeptDeployment | None:
        """The newest other deployment that has served, and whether it can serve again at once."""
        project, live = self.api.project(), self.api.deployment(self.host)
        others = [one for one in self._ours(project) if live is None or one.id != live.id]
        served = [one for one in others if self._has_served(one, live)]
        return self._kept(served[0]) if served else None

    def serve(self, deployment: str) -> None:
        """Lead the domain to ``deployment`` (an id): instant rollback, or promotion, or an alias.

        Raises:
            DeployError: when it does not get there in time, or Vercel refuses.
        """
        with self._deploying():
            self._serving(self.api.project()).lead_to(deployment)

    def _has_served(self, one: Deployed, live: Deployed | None) -> bool:
        """Vercel says so of production deployments. A preview has, when it is an older one of ours."""
        if self.settings.target == "production":
            return one.substate == "PROMOTED"
        return RELEASE in one.meta and (live is None or one.meta.get(DIGEST) != live.meta.get(DIGEST))

    def _kept(self, one: Deployed) -> KeptDeployment:
        trouble = ""
        if one.state != "READY":
            trouble = f"it is {one.state}"
        elif self.settings.target == "production" and one.candidate is False:
            trouble = "it is no candidate for an instant rollback (on the plan Hobby only the last one is)"
        release = str(one.meta.get(RELEASE, "an unknown release"))
        return KeptDeployment(one.id, release, self.api.where(self.api.deployment_path(one.id)), trouble)

    # --- inside ----------------------------------------------------------------------------------

    def _deploying(self) -> AbstractContextManager[None]:
        return deploying(self.component, "Vercel", self.settings.management_url)

    def _look(self, digest: str) -> _Seen:
        project = self.api.project()
        require_ours(self.api, project, self.settings.target)
        require_open(self.api, project, self.settings.target)
        if self.settings.domain:
            require_domain(self.api, self.settings.domain, self.settings.target)
        wrong, live = dict(self._wrong_variables()), self.api.deployment(self.host)
        serves = live is not None and live.meta.get(DIGEST) == digest
        made = None if wrong or serves else self._made(project, digest)
        return _Seen(project, live, made, wrong)

    def _ours(self, project: Project) -> list[Deployed]:
        return list(self.api.deployments(project, self.settings.target))

    def _made(self, project: Project, digest: str) -> Deployed | None:
        """The newest deployment of this digest that can be led to, were it only begun by an earlier run."""
        for one in self._ours(project):
            usable = one.state in _UNDER_WAY and one.checks not in ("failed", "canceled")
            beyond = one.substate == "PROMOTED" and one.candidate is False
            if one.meta.get(DIGEST) == digest and usable and not beyond:
                return one
        return None

    def _wrong_variables(self) -> Iterator[tuple[str, str]]:
        """Which variables of the server are not as declared, and what is wrong: never a value.

        A secret's value cannot be read back; when it changes, so does the digest of the deployment.
        """
        target, found = self.settings.target, self.api.variables()
        for name, value in web_build.server_environment(self._stack).items():
            here = [one for one in found if one.key == name and target in one.targets and not one.branch]
            if not here:
                yield name, f"there is none for {target}"
            elif here[0].targets != {target}:
                self._refuse_shared(here[0])
            elif not _right_kind(here[0]):
                yield name, f"its type is {here[0].type}, wanted {_kind(name)}"
            elif name in _PLAIN and here[0].value != value:
                yield name, f"another value for {target}"

    def _refuse_shared(self, variable: Variable) -> NoReturn:
        """Raises DeployError: to change it for one target would change it for the others."""
        where = self.api.where(self.api.variables_path)
        what = f"{where}: {variable.key} is one variable for {', '.join(sorted(variable.targets))}"
        hint = f"split it in the project's dashboard: one for {self.settings.target} alone"
        raise DeployError(self.component, what, hint)

    def _build(self, digest: str) -> VercelBuild:
        directory = self._stack.state / "web" / digest[:16]
        return VercelBuild(directory, self._stack.state / "logs", self.settings.target)

    def _cli(self, project: Project) -> VercelCli:
        settings, state = self.settings, self._stack.state / "vercel"
        token = self._stack.secret(settings.token)
        return VercelCli(self._stack.root, state, settings.management_url, token, project.owner, project.id)

    def _serving(self, project: Project) -> Serving:
        return Serving(self.api, project, self.host, self.settings.target)

    def _digest(self) -> str:
        """What identifies the declared state. A secret goes into it in a form that is slow to guess at."""
        inlined, root = web_build.declared(self._stack), self._stack.root
        build = web_build.build_digest(root / "web", inlined, find_node(self.component).version)
        settings = self.settings.model_dump(include={"project", "team", "target"})
        server = {
            name: value if name in _PLAIN else _slow(name, value)
            for name, value in web_build.server_environment(self._stack).items()
        }
        parts = json.dumps([build, settings, server], sort_keys=True)
        return hashlib.sha256(parts.encode()).hexdigest()


def _kind(name: str) -> str:
    """The type of a variable: what is no secret can be read back."""
    return "plain" if name in _PLAIN else "sensitive"


def _right_kind(variable: Variable) -> bool:
    secret = variable.key not in _PLAIN
    return variable.type in (("sensitive", "encrypted", "secret") if secret else ("plain",))


def _slow(name: str, value: str) -> str:
    """Takes 50 ms: the digest stands where all of the team can read it."""
    return hashlib.scrypt(value.encode(), salt=name.encode(), n=2**14, r=8, p=1).hex()
