"""The certificate authorities of the system, read once a run."""

from __future__ import annotations

import ssl
import threading

import httpx

__all__ = ["system_trust"]

_lock = threading.Lock()
_read: list[ssl.SSLContext] = []


def system_trust() -> ssl.SSLContext:
    """What httpx trusts by itself. Pass it as ``verify`` wherever a client lives for one request.

    Reading the authorities takes 17 ms of CPU time, ten times what a request takes; httpx reads them anew
    for each client, even for plain http. Nobody may add to it: who trusts more makes a context of its own.
    """
    with _lock:  # several threads ask at once, right at the start
        if not _read:
            _read.append(httpx.create_ssl_context(trust_env=False))
        return _read[0]
