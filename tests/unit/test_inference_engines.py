"""Engines: what they are told, how they say their context, and who may come in."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from harness.engines import ENGINES
from harness.environment import Environment
from harness.providers.local.engines import launch, write_if_changed
from inference import llamacpp_server
from inference.llamacpp_server import Configuration
from inference.settings import Settings
from inference.vllm_guard import RequireKey

ROOT = Path(__file__).parents[2]


def environment(**changes: Any) -> Environment:
    text = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text())
    for component in ("instant", "thinking"):
        text[component] |= changes
    return Environment.model_validate(text)


@pytest.mark.parametrize("component", ["instant", "thinking"])
@pytest.mark.parametrize("engine", ["llamacpp", "vllm"])
def test_the_declaration_reaches_the_engine(component: str, engine: str, tmp_path: Path) -> None:
    config = getattr(environment(engine=engine), component)
    made = launch(config, tmp_path / "weights", ROOT, tmp_path)
    document = yaml.safe_load(made.text())
    name = {"llamacpp": "name", "vllm": "served-model-name"}[engine]
    context = {"llamacpp": "context_tokens", "vllm": "max-model-len"}[engine]
    parallel = {"llamacpp": "parallel", "vllm": "max-num-seqs"}[engine]
    assert document[name] == config.model.name
    assert document[context] == config.model.context_tokens
    assert document[parallel] == 4
    assert "{port}" in made.argv
    assert str(made.file) in made.argv
    assert not any("key" in argument.lower() for argument in made.argv)


def test_the_digest_follows_what_is_declared(tmp_path: Path) -> None:
    digests = set()
    for changes in ({}, {"engine": "vllm"}, {"model": {**model(), "context_tokens": 2048}}):
        config = environment(**changes).instant
        digests.add(launch(config, tmp_path / "weights", ROOT, tmp_path).digest())
    assert len(digests) == 3


def model() -> dict[str, Any]:
    text = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text())
    found: dict[str, Any] = text["instant"]["model"]
    return found


def test_context_length_is_read_from_where_each_engine_says_it() -> None:
    vllm = {"id": "m", "max_model_len": 4096}
    llamacpp = {"id": "m", "meta": {"n_ctx": 1024}}
    assert ENGINES["vllm"].context_of(vllm) == 4096
    assert ENGINES["vllm"].context_of(llamacpp) is None
    assert ENGINES["llamacpp"].context_of(llamacpp) == 1024
    assert ENGINES["llamacpp"].context_of(vllm) is None
    assert [ENGINES["url"].context_of(entry) for entry in (vllm, llamacpp, {})] == [4096, 1024, None]


def test_the_declared_context_is_one_that_the_server_can_have() -> None:
    with pytest.raises(ValidationError, match="multiple of 256"):
        Configuration(model=Path("m"), name="m", context_tokens=1000, parallel=1)


def test_each_slot_has_the_whole_context_and_nothing_can_raise_it() -> None:
    made = llamacpp_server.parameters(
        Configuration(model=Path("m"), name="m", context_tokens=1024, parallel=4), "key"
    )
    assert made.n_ctx == 4096
    assert (made.kv_unified, made.ctx_shift, made.fit_params) == (False, False, False)
    assert made.api_keys == ["key"]


@pytest.mark.parametrize(
    ("module", "variable"),
    [("inference.llamacpp_server", "INFERENCE_API_KEY"), ("inference.serverless", "SERVERLESS_API_KEY")],
)
def test_nothing_starts_without_a_key(module: str, variable: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", module, "--config", str(tmp_path / "missing.yaml")]
    clean = {name: value for name, value in os.environ.items() if name != variable}
    done = subprocess.run(
        argv, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == f"{variable} is not set"


@pytest.mark.parametrize("text", ["port: 1\nidle_secnds: 3\n", "[]", ": :"])
def test_a_wrong_platform_configuration_is_one_clear_message(text: str, tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(text)
    argv = [sys.executable, "-m", "inference.serverless", "--config", str(file)]
    env = {**os.environ, "SERVERLESS_API_KEY": "k"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{file}: ")
    assert "Traceback" not in done.stderr


def test_the_platform_has_no_minimum_of_workers() -> None:
    assert not any("min" in name for name in Settings.model_fields)


def test_a_configuration_is_rewritten_only_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.yaml"
    write_if_changed(file, "a: 1\n")
    inode = file.stat().st_ino
    write_if_changed(file, "a: 1\n")
    assert file.stat().st_ino == inode
    write_if_changed(file, "a: 2\n")
    assert file.read_text() == "a: 2\n"


# --- the guard in front of vLLM ------------------------------------------------------------------


def status(path: str, *authorization: bytes, kind: str = "http") -> int | None:
    """What a request to ``path`` ends with; None: nothing was sent."""
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", value) for value in authorization]
    guard = RequireKey(application)
    asyncio.run(guard({"type": kind, "path": path, "headers": headers}, None, send))
    return sent[0]["status"] if sent else None


def test_the_guard_demands_the_key_everywhere_but_on_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "right")
    assert status("/health") == 200
    for path in ("/v1/models", "/invocations", "/metrics", "/docs", "/health/", "//health", "/tokenize"):
        assert status(path) == 401, path
        assert status(path, b"Bearer wrong") == 401
        assert status(path, b"Bearer righ") == 401
        assert status(path, b"Bearer wrong", b"Bearer right") == 401
        assert status(path, b"Bearer right") == 200
    assert status("/v1/realtime", kind="websocket") is None


def test_the_guard_refuses_to_start_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(RuntimeError, match="VLLM_API_KEY"):
        RequireKey(None)
