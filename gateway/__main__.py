"""`python -m gateway`: settings from the environment, then serve until told to stop."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import uvicorn
from uvicorn.supervisors import ChangeReload

from gateway import logs
from gateway.app import make_app
from gateway.logs import Log
from gateway.server import Server, configuration, serve_again
from gateway.settings import Settings, SettingsError, load

__all__ = ["main"]


def main() -> int:
    """Serve. The exit status: 0 when stopped, 1 when it could not listen, 2 for unusable settings."""
    log = Log(os.environ.get("GATEWAY_ENVIRONMENT", ""), os.environ.get("GATEWAY_RELEASE", ""))
    try:
        settings = load(os.environ)
    except SettingsError as error:
        log("error", "settings_invalid", problems=error.problems)
        return 2
    log = Log(settings.environment, settings.release, settings.log_level)
    logs.install(log, settings.secrets())
    if settings.reload:
        _reload(settings)
        return 0
    app, services = make_app(settings, log)
    gc.freeze()  # what was loaded stays: the collector need not look at it again
    gc.set_threshold(50_000, 20, 20)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has drained
        Server(configuration(settings, app), services).run()
    return 0


def _reload(settings: Settings) -> None:
    """Watch the sources; what is handed to the process that serves must survive pickling."""
    watched = uvicorn.Config(
        "gateway.server:serve_again",
        host=settings.host,
        port=settings.port,
        reload=True,
        reload_dirs=["gateway"],
        log_config=None,
    )
    sock = watched.bind_socket()
    ChangeReload(watched, target=serve_again, sockets=[sock]).run()


if __name__ == "__main__":
    sys.exit(main())
