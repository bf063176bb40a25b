"""Receives the files of a certificate and its key; hands on the context that connections are served
with, and has it follow the files."""

import asyncio
import logging
import os
import ssl
from pathlib import Path

POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


class TlsError(Exception):
    """The certificate or its key cannot be used; the message is for the operator."""


class Certificate:
    """A certificate, its key, and the context that serves them. TLS 1.2 is the least.

    Args:
        certificate: a PEM file: the server's own certificate first, then those between it and its
            authority.
        key: a PEM file; None where the first file holds the key too.

    Raises:
        TlsError: the files cannot be read, or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._files = [path.expanduser() for path in (certificate, key) if path]
        self._loaded = self._seen = self._stamps()
        self.context = self._load(_new_context())
        # HTTP/2 is not spoken here; a client that offers it too is told so (RFC 7301).
        self.context.set_alpn_protocols(["http/1.1"])

    async def follow(self) -> None:
        """Take the files anew whenever they have changed, until cancelled.

        Connections that are open keep what they have. A pair that does not fit changes nothing.
        """
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self.look()

    def look(self) -> None:
        """Take the files anew where they have changed, and have then stood still for one look:
        a certificate and its key are two writes."""
        stamps = self._stamps()
        settled, self._seen = stamps == self._seen, stamps
        if not settled or stamps == self._loaded:
            return
        self._loaded = stamps
        try:
            self._load(_new_context())
            self._load(self.context)
        except TlsError as error:
            logger.error("The old certificate stays: %s", error)
        else:
            logger.info("Took a new certificate from %s", self._files[0])

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        names = ", ".join(str(path) for path in self._files)
        try:
            # Without the password, a key that needs one would have the terminal asked for it.
            context.load_cert_chain(self._files[0], self._files[-1], password=b"")
        except ssl.SSLError as error:
            reason = (error.reason or "they are no certificate and key").replace("_", " ").lower()
            raise TlsError(f"the TLS files {names} do not fit: {reason}") from None
        except OSError as error:
            raise TlsError(f"the TLS files {names} cannot be read: {error.strerror}") from None
        return context

    def _stamps(self) -> list[tuple[int, ...]]:
        return [_stamp(path) for path in self._files]


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file; nothing where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size
