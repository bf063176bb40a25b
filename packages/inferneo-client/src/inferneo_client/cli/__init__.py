"""Receives a command line; hands on what its command prints, and an exit status.

Needs nothing beyond the SDK: `rich`, of the extra `cli`, renders Markdown where it is installed.
"""

import os
import sys
from collections.abc import Sequence

from inferneo_client.cli.arguments import parser_of
from inferneo_client.cli.console import INTERRUPTED, Failure, complain


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program `inferneo`; ends by `SystemExit`."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = parser_of()
    given = parser.parse_args(arguments)
    try:
        status: int = given.run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read the output has gone, as `head` does; Python would complain when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Failure as failure:
        complain(str(failure))
        return failure.status
    except (OSError, ValueError) as error:
        complain(str(error))
        return 1
    return status
