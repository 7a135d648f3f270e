"""A double of Vercel: one project of one team, its deployments, domains and variables.

It answers in the shapes of Vercel's API document (tests/unit/test_vercel_contract.py holds it to that), and
moves as Vercel does: what is uploaded is ready a few looks later, and so is a promotion.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any

from tests.vendor_server import Asked, Double, Told

TEAM, PROJECT = "team_chat0000000000000000", "prj_chat0000000000000000"


def _refused(status: int, code: str, message: str) -> Told:
    return Told(status, {"error": {"code": code, "message": message}})


@dataclass
class Vercel(Double):
    """The double; tests change what it holds, and how it behaves."""

    name: str = "chat-web"
    domains: list[dict[str, Any]] = field(default_factory=list)
    variables: list[dict[str, Any]] = field(default_factory=list)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    """Host: id of the deployment that it leads to."""
    project: dict[str, Any] = field(default_factory=dict)
    """What is different about the project."""
    looks: int = 2
    """How often a deployment is looked at before it is ready, and before a promotion is done; -1: never."""
    becomes: dict[str, Any] = field(default_factory=lambda: {"readyState": "READY"})
    """What a deployment is when it is done."""
    alias_error: dict[str, str] | None = None
    """What is said of a promotion or an alias instead of doing it."""
    job_fails: bool = False
    files: set[str] = field(default_factory=set)
    uploaded: list[bytes] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    def answer(self, asked: Asked) -> Told:
        with self.lock:
            for pattern, method, answer in _ROUTES:
                found = re.fullmatch(pattern, asked.path)
                if found and asked.method == method:
                    return answer(self, asked, *found.groups())
        return _refused(404, "not_found", f"nothing at {asked.path}")

    # --- what tests set up -----------------------------------------------------------------------

    def domain(self, name: str, **changes: Any) -> None:
        base = {"name": name, "apexName": name, "projectId": PROJECT, "verified": True}
        self.domains.append({**base, "redirect": None, "gitBranch": None, **changes})

    def variable(self, key: str, value: str, kind: str, *targets: str) -> None:
        self.variables.append({"key": key, "value": value, "type": kind, "target": list(targets)})

    def deployed(self, target: str, meta: dict[str, str], **changes: Any) -> str:
        """A deployment that is there already; its id."""
        id = f"dpl_{len(self.deployments) + 1:024d}"
        self.deployments[id] = {
            **_FIXED,
            "id": id,
            "name": self.name,
            "projectId": PROJECT,
            "url": f"{self.name}-{len(self.deployments) + 1}.example",
            "target": None if target == "preview" else target,
            "meta": meta,
            "createdAt": 1_790_000_000_000 + len(self.deployments),
            "readyState": "READY",
            "status": "READY",
            "aliasAssigned": False,
            "aliasError": None,
            "isRollbackCandidate": None if target == "preview" else False,
            **changes,
        }
        return id

    def served(self, host: str, target: str, meta: dict[str, str], **changes: Any) -> str:
        """One that people meet at ``host``; its id."""
        state = {} if target == "preview" else {"readySubstate": "PROMOTED", "isRollbackCandidate": True}
        self.hosts[host] = id = self.deployed(target, meta, **{**state, **changes})
        return id

    def release_at(self, host: str) -> str:
        found = self.deployments.get(self.hosts.get(host, ""), {"meta": {}})
        return str(found["meta"].get("harnessRelease", ""))

    # --- how it answers --------------------------------------------------------------------------

    def _project(self, asked: Asked, name: str) -> Told:
        if name not in (self.name, PROJECT):
            return _refused(404, "not_found", "Project not found.")
        regions = {"functionDefaultRegions": ["fra1"]}
        fixed = {"id": PROJECT, "name": self.name, "accountId": TEAM, "nodeVersion": "22.x"}
        fixed |= {"framework": None, "directoryListing": False}
        fixed |= {"resourceConfig": regions, "defaultResourceConfig": regions}
        return Told(200, {**fixed, **self.project})

    def _domains(self, asked: Asked, name: str) -> Told:
        return Told(200, {"domains": self.domains, "pagination": _page(len(self.domains))})

    def _variables(self, asked: Asked, name: str) -> Told:
        shown = [{**one, "value": one["value"] if one["type"] == "plain" else ""} for one in self.variables]
        return Told(200, {"envs": shown})

    def _set_variable(self, asked: Asked, name: str) -> Told:
        wanted = asked.json()
        same = [o for o in self.variables if (o["key"], o["target"]) == (wanted["key"], wanted["target"])]
        self.variables = [one for one in self.variables if one not in same] + [wanted]
        return Told(201, {"created": {**wanted, "value": ""}, "failed": []})

    def _pulled(self, asked: Asked, project: str, target: str) -> Told:
        here = {one["key"]: one["value"] for one in self.variables if target in one["target"]}
        return Told(200, {"env": here, "buildEnv": {}})

    def _file(self, asked: Asked) -> Told:
        self.files.add(asked.headers.get("x-now-digest") or asked.headers["x-vercel-digest"])
        self.uploaded.append(asked.body)
        return Told(200, {"urls": []})

    def _create(self, asked: Asked) -> Told:
        wanted = asked.json()
        missing = [one["sha"] for one in wanted["files"] if one["sha"] not in self.files]
        if missing:
            found = {"code": "missing_files", "message": "Missing files", "missing": missing}
            return Told(400, {"error": found})
        target = wanted.get("target") or "preview"
        staged = {"readySubstate": "STAGED"} if target == "production" else {}
        state = {"readyState": "QUEUED", "status": "QUEUED", **staged, "_looks": self.looks}
        id = self.deployed(target, wanted.get("meta", {}), **state)
        if target == "production" and wanted.get("autoAssignCustomDomains") is not False:
            self.hosts |= dict.fromkeys(self._production_domains(), id)  # --skip-domain was forgotten
        return Told(200, _shown(self.deployments[id]))

    def _production_domains(self) -> list[str]:
        return [one["name"] for one in self.domains if not one.get("gitBranch")]

    def _deployment(self, asked: Asked, name: str) -> Told:
        found = self.deployments.get(self.hosts.get(name, name))
        if found is None:
            return _refused(404, "not_found", f"The deployment {name} cannot be found")
        if name in self.deployments:
            self._move(found)
        return Told(200, _shown(found))

    def _move(self, one: dict[str, Any]) -> None:
        """One look further."""
        if one["readyState"] in ("QUEUED", "BUILDING"):
            one["_looks"] -= 1
            one["readyState"] = "BUILDING"
            if one["_looks"] == 0:
                one.update(self.becomes)
            one["status"] = one["readyState"]
        elif "_led" in one:
            one["_led"] -= 1
            if one["_led"] == 0:
                self._lead(one)

    def _lead(self, one: dict[str, Any]) -> None:
        del one["_led"]
        if self.alias_error:
            one["aliasError"] = self.alias_error
            return
        status = "failed" if self.job_fails else "succeeded"
        request = {"fromDeploymentId": "dpl_before", "toDeploymentId": one["id"], "jobStatus": status}
        self.project["lastAliasRequest"] = {**request, "requestedAt": 1_790_000_000_000, "type": "promote"}
        if not self.job_fails:
            one.update(readySubstate="PROMOTED", aliasAssigned=True, isRollbackCandidate=True)
            self.hosts |= dict.fromkeys(self._production_domains(), one["id"])

    def _list(self, asked: Asked) -> Told:
        wanted = None if asked.query.get("target") == "preview" else asked.query.get("target")
        found = [one for one in self.deployments.values() if one["target"] == wanted]
        return Told(200, {"deployments": [_listed(one) for one in found], "pagination": _page(len(found))})

    def _promote(self, asked: Asked, project: str, id: str) -> Told:
        one = self.deployments[id]
        if one["target"] != "production":
            return _refused(422, "not_production", "a preview would have to be built again")
        one["_led"] = self.looks
        return Told(201, raw=b"")

    def _roll_back(self, asked: Asked, project: str, id: str) -> Told:
        if not self.deployments[id]["isRollbackCandidate"]:
            return _refused(422, "not_candidate", "This deployment is not a rollback candidate")
        self.deployments[id]["_led"] = self.looks
        return Told(201, raw=b"")

    def _assign(self, asked: Asked, id: str) -> Told:
        host = asked.json()["alias"]
        if self.hosts.get(host) == id:
            return _refused(409, "alias_in_use", "The alias is already assigned to this deployment")
        if self.alias_error:
            self.deployments[id]["aliasError"] = self.alias_error
        elif self.looks >= 0:
            self.hosts[host] = id
        return Told(200, {"alias": host, "created": "2026-11-28T00:00:00.000Z", "uid": "an-alias"})

    def _user(self, asked: Asked) -> Told:
        user = {"id": "user_1", "username": "bot", "email": "bot@chat.example", "defaultTeamId": TEAM}
        return Told(200, {"user": {**user, "version": "northstar"}})

    def _of_team(self, asked: Asked, id: str) -> Told:
        return Told(200, {"id": TEAM, "slug": "chat", "name": "Chat"})


_FIXED: dict[str, Any] = {
    "alias": [],
    "bootedAt": 0,
    "build": {"env": []},
    "buildSkipped": False,
    "buildingAt": 0,
    "createdIn": "fra1",
    "creator": {"uid": "user_1"},
    "env": [],
    "inspectorUrl": None,
    "isInConcurrentBuildsQueue": False,
    "isInSystemBuildsQueue": False,
    "ownerId": TEAM,
    "plan": "pro",
    "projectSettings": {},
    "public": False,
    "regions": ["fra1"],
    "routes": None,
    "type": "LAMBDAS",
    "version": 2,
}


def _page(count: int) -> dict[str, Any]:
    return {"count": count, "next": None, "prev": None}


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    hidden = ("isRollbackCandidate",)  # only lists say so
    return {key: value for key, value in one.items() if key[0] != "_" and key not in hidden}


def _listed(one: dict[str, Any]) -> dict[str, Any]:
    shared = ("name", "projectId", "url", "target", "meta", "creator", "inspectorUrl", "type", "aliasError")
    found = {key: one[key] for key in (*shared, "isRollbackCandidate", "createdAt")}
    optional = {key: one[key] for key in ("readySubstate", "checksConclusion") if key in one}
    state = {"state": one["readyState"], "readyState": one["readyState"]}
    return {**found, **optional, **state, "uid": one["id"], "created": one["createdAt"]}


_NAME = "([^/]+)"
_ROUTES: list[tuple[str, str, Any]] = [
    (f"/v9/projects/{_NAME}", "GET", Vercel._project),
    (f"/v9/projects/{_NAME}/domains", "GET", Vercel._domains),
    (f"/v10/projects/{_NAME}/env", "GET", Vercel._variables),
    (f"/v10/projects/{_NAME}/env", "POST", Vercel._set_variable),
    ("/v7/deployments", "GET", Vercel._list),
    ("/v13/deployments", "POST", Vercel._create),
    (f"/v13/deployments/{_NAME}", "GET", Vercel._deployment),
    ("/v2/files", "POST", Vercel._file),
    (f"/v10/projects/{_NAME}/promote/{_NAME}", "POST", Vercel._promote),
    (f"/v1/projects/{_NAME}/rollback/{_NAME}", "POST", Vercel._roll_back),
    (f"/v2/deployments/{_NAME}/aliases", "POST", Vercel._assign),
    # what only the CLI asks
    ("/v2/user", "GET", Vercel._user),
    (f"/teams/{_NAME}", "GET", Vercel._of_team),
    (f"/v3/env/pull/{_NAME}/{_NAME}", "GET", Vercel._pulled),
]
