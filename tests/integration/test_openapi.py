"""Proves that the server does what its /openapi.json says, whatever it is sent."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.servers import RunningServer, running_server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
# The routes that take longest, apart from the others.
SHARE = "^/v1/(responses|messages)"
# It would start real engines, for tens of seconds each.
LEFT_OUT = "^/v1/models/load$"
# A bound, on a machine that is busy with other tests.
RUN_SECONDS = 280


@pytest.fixture(scope="module")
def fuzzed_server() -> Iterator[RunningServer]:
    """A server of its own: models are loaded and unloaded in it at random."""
    with running_server("--engine", "simulated") as server:
        yield server


@pytest.mark.timeout(RUN_SECONDS + 10)
@pytest.mark.parametrize("share", ["include", "exclude"])
def test_no_request_gets_what_the_description_does_not_tell(
    fuzzed_server: RunningServer, share: str
) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"{fuzzed_server.url}/openapi.json",
            *(f"--{share}-path-regex", SHARE if share == "include" else f"{SHARE}|{LEFT_OUT}"),
            *("--checks", ",".join(CHECKS)),
            *("--max-examples", "20", "--seed", "7", "--request-timeout", "10"),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
