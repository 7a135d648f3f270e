"""The thinking model at the double of RunPod (tests/runpod_double.py): that of staging."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.environment.loader import load
from harness.identity import LocalIdentities
from harness.providers.cloud import runpod
from harness.providers.cloud.runpod import RunpodThinking
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.pg_fixture import ROOT
from tests.runpod_double import Runpod
from tests.vendor_server import serving

TOKEN = "rpa_a-token-that/nobody+may=see-0123456789"
HIDDEN = "hf_a-key-of-the-template-that-nobody-may-see"


@dataclass
class RunpodStand:
    """The double, and the stack whose thinking model is there."""

    stack: Stack
    provider: RunpodThinking
    double: Runpod

    def deploy(self) -> tuple[str, ...]:
        return self.provider.deploy(lambda _: None).changes

    def declare(self, **changes: Any) -> None:
        """Change what the environment says of the thinking model."""
        thinking = self.stack.environment.thinking.model_copy(update=changes)
        self.stack.environment = self.stack.environment.model_copy(update={"thinking": thinking})
        self.stack.providers["thinking"] = self.provider = RunpodThinking(self.stack)


def gateway(stand: RunpodStand, *, elsewhere: bool = False) -> None:
    """A gateway that asks the endpoint, or (``elsewhere``) somebody else."""
    url = stand.stack.environment.gateway.url

    def answer(request: httpx.Request) -> httpx.Response:
        stand.double.jobs["completed"] += not elsewhere
        return httpx.Response(200, json={"choices": [{"message": {"content": "4"}}], "usage": {}})

    stand.stack._clients[url] = httpx.Client(base_url=url, transport=httpx.MockTransport(answer))
    stand.stack.identities_source = LocalIdentities(stand.stack)


def as_declared(stack: Stack) -> tuple[dict[str, Any], dict[str, str]]:
    """An endpoint of RunPod, and the environment of its template, as staging.yaml declares them."""
    settings = {"workersMin": 0, "workersMax": 1, "idleTimeout": 60, "executionTimeoutMs": 600_000}
    settings |= {"scalerType": "REQUEST_COUNT", "scalerValue": 8, "gpuTypeIds": ["NVIDIA A100 80GB PCIe"]}
    variables = {
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "Qwen/Qwen3-32B",
        "MAX_MODEL_LEN": "32768",
        "MAX_CONCURRENCY": "8",
        "GENERATION_CONFIG": "vllm",
        "HF_TOKEN": HIDDEN,
    }
    return settings, variables


@pytest.fixture
def thinking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunpodStand]:
    """An endpoint that is as declared."""
    monkeypatch.setenv("STAGING_RUNPOD_TOKEN", TOKEN)
    monkeypatch.setenv("STAGING_SUPABASE_JWT_SECRET", "a-secret-that-signs-tokens-0123456789")
    monkeypatch.setenv("STAGING_THINKING_API_KEY", "the-key-of-the-endpoint-0123456789")
    monkeypatch.setattr(runpod, "_APPLIED_SECONDS", 0.3)
    monkeypatch.setattr(runpod, "_ANSWERS_SECONDS", 0.3)
    double = Runpod()
    with serving(double) as url:
        environment = load("staging", ROOT).environment
        addresses = {"management_url": f"{url}/v1", "jobs_url": f"{url}/v2"}
        addresses |= {"workers_url": f"{url}/v2/serverless", "account_url": f"{url}/graphql"}
        settings = environment.thinking.model_copy(update=addresses)
        environment = environment.model_copy(update={"thinking": settings})
        stack = Stack(ROOT, tmp_path, environment, SecretStore(ROOT, tmp_path))
        stack.providers["thinking"] = provider = RunpodThinking(stack)
        double.settings, double.variables = as_declared(stack)
        stack._clients[settings.url] = _engine(settings.url, double)
        yield RunpodStand(stack, provider, double)
        stack.close()


def _engine(url: str, double: Runpod) -> httpx.Client:
    """The endpoint's own address: whatever is asked starts a worker, and is answered with one token."""

    def answer(request: httpx.Request) -> httpx.Response:
        double.workers = max(double.workers, 1)
        lines = ['{"choices":[{"delta":{"content":"4"}}]}', "[DONE]"]
        if b'"stream":true' in request.content.replace(b" ", b""):
            text = "".join(f"data: {line}\n\n" for line in lines)
            return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})
        return httpx.Response(200, json={"choices": [{"message": {"content": "4"}}]})

    return httpx.Client(base_url=url, transport=httpx.MockTransport(answer))
