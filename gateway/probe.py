"""`python -m gateway.probe`: is the gateway of this container alive? What the image's health check runs."""

from __future__ import annotations

import http.client
import os
import sys

__all__ = ["main"]

SECONDS = 4.0


def main() -> int:
    """The exit status: 0 when the gateway answers 200 on /health/live within four seconds, else 1."""
    port = int(os.environ.get("GATEWAY_PORT", "8000"))
    host = os.environ.get("GATEWAY_ALLOWED_HOSTS", "").partition(",")[0].strip() or "127.0.0.1"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/live", headers={"Host": host})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
