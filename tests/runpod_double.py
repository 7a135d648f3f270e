"""A double of RunPod: one serverless endpoint with its template, its workers and jobs, and the account.

RunPod publishes no document that could be kept here, so this one is written from what is known of its APIs
(docs/adr/0022-vercel-and-runpod.md says what), and nothing holds it to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.vendor_server import Asked, Double, Told

TEMPLATE = "template0000"


@dataclass
class Runpod(Double):
    """The double; tests change what it holds, and how it behaves."""

    endpoint_id: str = "stagingthinking0"
    settings: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    workers: int = 0
    jobs: dict[str, int] = field(default_factory=lambda: {"inQueue": 0, "inProgress": 0, "completed": 3})
    account: dict[str, Any] = field(default_factory=lambda: {"spendLimit": 3.0, "currentSpendPerHr": 0.0})
    looks: int = 1
    """How often the endpoint is looked at before a change is in force; -1: it is ignored."""
    pending: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def answer(self, asked: Asked) -> Told:
        endpoint = f"/v1/endpoints/{self.endpoint_id}"
        routes = {
            ("GET", endpoint): self._endpoint,
            ("PATCH", endpoint): self._change,
            ("PATCH", f"/v1/templates/{TEMPLATE}"): self._change_template,
            ("GET", f"/v2/{self.endpoint_id}/health"): self._health,
            ("GET", f"/v2/serverless/{self.endpoint_id}/workers"): self._workers,
            ("POST", "/graphql"): self._graphql,
        }
        found = routes.get((asked.method, asked.path))
        return found(asked) if found else Told(404, {"error": "not found"})

    def _endpoint(self, asked: Asked) -> Told:
        self.pending = [(looks - 1, change) for looks, change in self.pending]
        for looks, change in self.pending:
            if looks == 0:
                self.variables = change.pop("env", self.variables)
                self.settings.update(change)
        body = {"id": self.endpoint_id, "name": "thinking", "templateId": TEMPLATE, **self.settings}
        if asked.query.get("includeTemplate") == "true":
            body["template"] = {"id": TEMPLATE, "env": self.variables}
        return Told(200, body)

    def _change(self, asked: Asked) -> Told:
        self.pending.append((self.looks, asked.json()))
        return Told(200, {"id": self.endpoint_id, **self.settings})

    def _change_template(self, asked: Asked) -> Told:
        self.pending.append((self.looks, asked.json()))
        return Told(200, {"id": TEMPLATE})

    def _health(self, asked: Asked) -> Told:
        states = {"idle": 0, "initializing": 0, "running": self.workers, "throttled": 0}
        return Told(200, {"jobs": self.jobs, "workers": states})

    def _workers(self, asked: Asked) -> Told:
        return Told(200, {"summary": {"total": self.workers}, "workers": []})

    def _graphql(self, asked: Asked) -> Told:
        fields = asked.json()["query"].split("{")[-1].replace("}", " ").split()
        return Told(200, {"data": {"myself": {name: self.account.get(name) for name in fields}}})
