"""Receives the flags of `serve`; hands on settings to the server, and its exit status."""

import argparse
import asyncio
import logging

from inferneo_server.cli import Failure
from inferneo_server.cli.flags import add_settings, settings_of
from inferneo_server.environment import SettingsError, unknown_variables
from inferneo_server.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Each setting is a flag."""
    add_settings(parser)


def run(values: argparse.Namespace) -> int:
    """Serve until a signal ends it.

    Raises:
        Failure: a setting is wrong, the port is taken, or the model cannot be served.
    """
    settings = settings_of(values)
    # Imported late: they take a second, and an error in the settings should come at once.
    import uvloop

    from inferneo_server.database import DatabaseError
    from inferneo_server.engines.base import EngineStartError
    from inferneo_server.log_lines import set_up_logs
    from inferneo_server.server import ListenError, serve
    from inferneo_server.transports.tls import TlsError

    set_up_logs(settings.log_level, settings.log_format)
    for unknown in unknown_variables(Settings.model_fields):
        logging.getLogger("inferneo_server").warning("%s", unknown)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except DatabaseError as error:
        raise Failure(f"{error}; --state-dir names another folder") from None
    except (ListenError, SettingsError, TlsError) as error:
        raise Failure(str(error)) from None
    except EngineStartError as error:
        raise Failure(f"{settings.model} cannot be served: {error}") from None
    return 0
