"""What GPU hosts and serverless platforms are given: data, held to what the checklists ask for."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import yaml

CLOUD = Path(__file__).parents[2] / "inference" / "cloud"


class Repeated(dict[str, Any]):
    """A section of a unit file, where a key may stand more than once."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and key in self:
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, dict_type=Repeated, empty_lines_in_values=False)
    parser.optionxform = str
    parser.read(CLOUD / "instant.service")
    return parser


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CLOUD / name).read_text())
    return found


def test_the_unit_restarts_always_and_leaves_nothing_behind() -> None:
    service = unit()["Service"]
    assert service["Restart"] == "always"
    assert service["KillMode"] == "control-group"
    assert service["User"] != "root"


def test_the_key_comes_from_a_file_and_never_from_an_argument() -> None:
    service = unit()["Service"]
    assert "key" not in service["ExecStart"].lower()
    assert "/etc/instant/key.env" in service["EnvironmentFile"].splitlines()
    assert not any("key" in name.lower() for name in document("instant.vllm.yaml"))


def test_the_gpu_host_is_guarded_and_capped() -> None:
    config = document("instant.vllm.yaml")
    assert config["middleware"] == ["vllm_guard.RequireKey"]
    assert config["generation-config"] == "vllm"
    assert config["max-model-len"] > 0


def test_serverless_platforms_scale_to_zero_and_never_try_twice() -> None:
    runpod = document("thinking.runpod.yaml")["endpoint"]
    modal = document("thinking.modal.yaml")["function"]
    assert runpod["workersMin"] == modal["min_containers"] == 0
    assert modal["retries"] == 0
    assert runpod["workersMax"] >= 1
    assert modal["max_containers"] >= 1
    assert runpod["executionTimeoutMs"] > 0
    assert modal["timeout"] > 0
