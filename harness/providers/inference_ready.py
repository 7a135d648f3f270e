"""Does an engine serve? Asked by whatever starts one, wherever it runs."""

from __future__ import annotations

import httpx

from harness.environment.inference import LocalInstant, LocalThinking, PodInstant
from harness.secrets import Secret
from harness.trust import system_trust

__all__ = ["serves"]


def serves(config: LocalInstant | LocalThinking | PodInstant, key: Secret) -> bool:
    """Healthy, and a one-token chat is answered: health alone says 200 while a worker hangs."""
    try:
        health = httpx.get(f"{config.url}/health", timeout=2.0, verify=system_trust(), trust_env=False)
        return health.status_code == 200 and _answers(config, key)
    except httpx.TransportError:
        return False


def _answers(config: LocalInstant | LocalThinking | PodInstant, key: Secret) -> bool:
    body = {
        "model": config.model.name,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "?"}],
    }
    answer = httpx.post(
        f"{config.url}/v1/chat/completions",
        json=body,
        verify=system_trust(),
        trust_env=False,
        headers={"Authorization": f"Bearer {key.reveal()}"},
        timeout=config.answer_within_seconds,
    )
    return answer.status_code == 200
