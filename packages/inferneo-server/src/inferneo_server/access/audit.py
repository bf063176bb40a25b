"""Receives what somebody did as an administrator; hands on a line of the audit log."""

import logging

logger = logging.getLogger("inferneo_server.audit")


def audit(who: str, what: str, outcome: str = "done") -> None:
    """Write down an act.

    Args:
        who: an identity, or a user of the machine; never a secret.
        what: the act.
        outcome: what came of it: "done", or an HTTP status.
    """
    logger.info("AUDIT who=%s what=%s outcome=%s", _plain(who), _plain(what), _plain(outcome))


def _plain(text: str) -> str:
    """The text in one line, whatever was put into it."""
    return ascii(text)
