"""Receives records of the log; hands on a line for each on standard error, as text or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from inferneo_server.telemetry import ACCESS_FIELDS, access_logger

LogFormat = Literal["text", "json"]


def set_up_logs(level: str, form: LogFormat) -> None:
    """Write what is logged to standard error.

    Args:
        level: of our own lines; of what others log, warnings are shown.
        form: how a line is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in ("inferneo_server", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())


class JsonLines(logging.Formatter):
    """A JSON object a line: `time`, `level`, `logger`, `message`, `exception` where there is one,
    and the parts of the access log's lines by their names.
    """

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        values = record.args if isinstance(record.args, tuple) else ()
        # A socket's line has fewer.
        if record.name == access_logger.name and len(values) == len(ACCESS_FIELDS):
            told |= zip(ACCESS_FIELDS, values, strict=True)
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        # In ASCII: what a stream of another encoding escapes is no JSON.
        return json.dumps(told, default=str)
