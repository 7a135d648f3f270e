"""Metrics: few names, and labels from closed sets, so that nobody can grow them from outside."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

__all__ = ["ROUTES", "Metrics"]

ROUTES = ("chat", "models", "live", "ready", "metrics", "docs", "other")
MODELS = ("instant", "thinking", "none")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The gateway's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        registry = self.registry
        self._requests = Counter(
            "gateway_requests",
            "Requests by what became of them",
            ["route", "model", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "gateway_request_seconds",
            "Whole request",
            ["route", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter("gateway_tokens", "Tokens booked", ["model", "kind"], registry=registry)
        self._aborts = Counter(
            "gateway_cut", "Requests cut short, by what cut them", ["model", "reason"], registry=registry
        )
        self.in_flight = Gauge("gateway_in_flight", "Requests in flight", registry=registry)
        self.ledger = Histogram(
            "gateway_ledger_seconds", "One reservation call", buckets=_SECONDS, registry=registry
        )
        self._booked = {
            model: (self._tokens.labels(model, "prompt"), self._tokens.labels(model, "completion"))
            for model in MODELS
        }
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def request(self, route: str, model: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (route, model, status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self._requests.labels(route, model, str(status)),
                self._seconds.labels(route, model),
            )
        children[0].inc()
        children[1].observe(seconds)

    def tokens(self, model: str, prompt: int, completion: int) -> None:
        """Count booked tokens."""
        self._booked[model][0].inc(prompt)
        self._booked[model][1].inc(completion)

    def cut(self, model: str, reason: str) -> None:
        """Count a request that was cut short by ``reason`` (one of the reasons of a guard)."""
        self._aborts.labels(model, reason).inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
