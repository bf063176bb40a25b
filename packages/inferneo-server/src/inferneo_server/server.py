"""Receives the settings; hands on a running server, and ends it: start, serve, drain, stop."""

import asyncio
import contextlib
import gc
import logging
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Set
from types import FrameType
from typing import Any

import uvicorn
from pydantic import SecretStr

from inferneo_server.access.check import is_loopback
from inferneo_server.app import keys_required, make_app, make_keys, make_service
from inferneo_server.engines.base import Task
from inferneo_server.metrics import ACTIVE_CONNECTIONS, TASKS
from inferneo_server.service import Service
from inferneo_server.settings import Settings
from inferneo_server.transports.tls import Certificate
from inferneo_server.transports.unix_socket import SocketFile
from inferneo_server.transports.uvicorn import ConnectionLimits, http_protocol
from inferneo_server.transports.uvicorn_sockets import SocketProtocol

PROGRESS_SECONDS = 5.0
DRAIN_POLL_SECONDS = 0.05
# Answers that are written, but not yet read by their clients, have this long.
FLUSH_SECONDS = 3
# What the system takes of an answer beyond what is on its way.
UNSENT_BYTES = 64 * 1024
# What the server needs for itself: files, its engines, and who is turned away.
OWN_DESCRIPTORS = 256

logger = logging.getLogger(__name__)


class ListenError(Exception):
    """The port cannot be opened; the message is for the operator."""


class DrainingServer(uvicorn.Server):
    """A server that on the first signal refuses new requests, finishes those that run, then ends.

    While it drains it still answers, so that `/ready` can say 503 to who asks. A second signal ends
    it at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service, settings: Settings) -> None:
        super().__init__(config)
        self._service = service
        self._drain_seconds = settings.drain_seconds
        self._stall_seconds = settings.stall_seconds
        self._metrics_host, self._metrics_port = settings.metrics_host, settings.metrics_port
        self._drain: asyncio.Task[None] | None = None
        self._socket_file = SocketFile(settings.uds) if settings.uds else None
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, and tell who waits for it.

        Raises:
            ListenError: it cannot be opened.
        """
        with _without_errors(logging.getLogger("uvicorn.error")):
            try:
                if self._socket_file is not None:
                    self._socket_file.check_free()
                await super().startup(sockets)
                if self._socket_file is not None:
                    self._socket_file.note()
            except SystemExit as end:
                # uvicorn would end the process here, with the reason in its log.
                raise ListenError(
                    f"cannot listen on {self.config.host}:{self.config.port}: {end.__context__}"
                ) from None
            except OSError as error:
                raise ListenError(f"cannot listen on {self.config.uds}: {error}") from None
        if self._metrics_port is not None and not self.should_exit:
            await self._listen_for_operators()
        for server in self.servers:
            for listener in server.sockets:
                _bound_stalled(listener, self._stall_seconds)
        self.listening.set()

    async def _listen_for_operators(self) -> None:
        """Open the second port, which ends with the first."""

        def protocol() -> asyncio.Protocol:
            kind: Any = self.config.http_protocol_class
            made: asyncio.Protocol = kind(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        loop = asyncio.get_running_loop()
        try:
            opened = await loop.create_server(protocol, self._metrics_host, self._metrics_port)
        except OSError as error:
            await self.shutdown()
            raise ListenError(
                f"cannot listen on {self._metrics_host}:{self._metrics_port} "
                f"(metrics_port): {error}"
            ) from None
        self.servers.append(opened)
        logger.info("Metrics and docs at http://%s:%s", self._metrics_host, self._metrics_port)

    def remove_socket(self) -> None:
        """Take the file of the Unix socket away, where one was opened."""
        if self._socket_file is not None:
            self._socket_file.remove()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take both signals, by the loop; an end that was asked for is no failure."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or give up where that has begun."""
        if self._service.draining:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        logger.info("Draining: running requests have %g s", self._drain_seconds)
        self._drain = asyncio.ensure_future(self._exit_when_idle())

    def exit_without_models(self, models: asyncio.Task[None]) -> None:
        """The registry's task has ended: there is nothing left to serve."""
        self.should_exit = True

    async def _exit_when_idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                # The engines keep count, and tell nobody.
                while self._service.busy:  # noqa: ASYNC110
                    await asyncio.sleep(DRAIN_POLL_SECONDS)
        self.should_exit = True


async def serve(settings: Settings) -> None:
    """Serve until a signal ends it.

    Raises:
        EngineStartError: the model could not be loaded.
        DatabaseError: a file of limits or usage cannot be used.
        SettingsError: a store that is named cannot be.
        ListenError: the port cannot be opened.
        TlsError: the certificate or its key cannot be used.
    """
    certificate = Certificate(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    # First, since it tells of a folder that cannot be used.
    service = make_service(settings)
    settings = _with_key(settings)
    keys = make_keys(settings)
    config = uvicorn.Config(
        make_app(settings, service, keys),
        host=settings.host,
        port=settings.port,
        uds=str(settings.uds) if settings.uds else None,
        log_config=None,
        access_log=False,
        server_header=False,
        http=http_protocol(_connection_limits(settings)),
        timeout_keep_alive=settings.idle_seconds,  # type: ignore[arg-type]  # a float does as well
        ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
        lifespan="off",
        proxy_headers=False,  # the application reads them, from whom the settings trust
        ws=SocketProtocol,
        ws_max_size=settings.max_body_bytes,
        ws_ping_interval=settings.websocket_ping_seconds,
        ws_ping_timeout=settings.websocket_ping_seconds,
        ws_per_message_deflate=settings.websocket_compression,
        timeout_graceful_shutdown=FLUSH_SECONDS,
    )
    server = DrainingServer(config, service, settings)
    loop = asyncio.get_running_loop()
    TASKS.set_function(lambda: len(asyncio.all_tasks(loop)))
    ACTIVE_CONNECTIONS.set_function(lambda: len(server.server_state.connections))
    models = asyncio.create_task(service.registry.run())
    stores = asyncio.create_task(service.spending.run())
    service.streams.start()
    progress = asyncio.create_task(_tell_progress(settings, server, service))
    following = asyncio.create_task(certificate.follow()) if certificate else None
    models.add_done_callback(server.exit_without_models)
    try:
        await server.serve()
    finally:
        progress.cancel()
        if following is not None:
            following.cancel()
        failure = models.exception() if models.done() and not models.cancelled() else None
        # Before the engine: what it fails would be kept for its readers.
        await service.streams.aclose()
        models.cancel()
        stores.cancel()
        await asyncio.gather(models, progress, stores, return_exceptions=True)
        keys.close()
        server.remove_socket()
        # Last of all: what ended until now has been settled.
        await service.spending.aclose()
        # Libraries complain of what the collector does not find when the process ends.
        gc.unfreeze()
    if failure is not None:
        raise failure


@contextlib.contextmanager
def _without_errors(log: logging.Logger) -> Iterator[None]:
    """Leave errors to who raises them."""

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    log.addFilter(passes)
    try:
        yield
    finally:
        log.removeFilter(passes)


def _connection_limits(settings: Settings) -> ConnectionLimits:
    """The limits of connections, within those of the system: without a descriptor to accept the
    next client, nobody could tell it why."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return ConnectionLimits(
        header_seconds=settings.header_seconds,
        stall_seconds=settings.stall_seconds,
        max_connections=max(1, min(settings.max_connections, descriptors - OWN_DESCRIPTORS)),
        max_body_bytes=settings.max_body_bytes,
    )


def _bound_stalled(listener: Any, seconds: float) -> None:
    """Have the system hold little for connections whose other end takes nothing, half-open ones
    too, and end them after a while. Each connection inherits it from the listener.

    Source: tcp(7), TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT. By default Linux takes megabytes of
    what cannot be sent.
    """
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for name, value in (
        ("TCP_USER_TIMEOUT", round(seconds * 1000)),
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES),
    ):
        option = getattr(socket, name, None)  # not every system has them
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _with_key(settings: Settings) -> Settings:
    """Make a key where anyone on the network could reach the server."""
    if keys_required(settings) or settings.uds or is_loopback(settings.host):
        return settings
    key = f"sk-{secrets.token_urlsafe(32)}"
    _announce(
        settings,
        logging.WARNING,
        f"No key is set, and {settings.host} can be reached from other machines.\n"
        f"Made one for this run; requests must carry it: {key}\n"
        "Set your own by INFERNEO_API_KEY or --api-key, or make some: inferneo-server keys create.",
    )
    return settings.model_copy(update={"api_key": SecretStr(key)})


async def _tell_progress(settings: Settings, server: DrainingServer, service: Service) -> None:
    """Say every few seconds that the model is still loading, and in the end what to do with it."""
    await server.listening.wait()
    logger.info("Loading %s on %s", settings.model, settings.engine)
    ready = asyncio.create_task(service.registry.wait_ready())
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        while not (await asyncio.wait([ready], timeout=PROGRESS_SECONDS))[0]:
            logger.info("Loading %s: %.0f s", settings.model, loop.time() - started)
    finally:
        ready.cancel()
    _leave_to_themselves()
    route, body = _example(service.registry.tasks)
    banner = _banner(settings, _url(server), loop.time() - started, route, body)
    _announce(settings, logging.INFO, banner)


def _announce(settings: Settings, level: int, text: str) -> None:
    """Tell the operator what is no line of the log; it is one where programs read that."""
    if settings.log_format == "json":
        logger.log(level, "%s", text.strip())
    else:
        print(text, file=sys.stderr, flush=True)


def _leave_to_themselves() -> None:
    """Have the garbage collector pass over what is there now, and will be to the end.

    Even without an engine's modules that is a hundred thousand objects: to look at them all, as it
    would now and then, holds up each stream for 40 ms.
    """
    gc.collect()
    gc.freeze()


def _url(server: uvicorn.Server) -> str:
    if server.config.uds is not None:
        # What programs that connect to a socket are given beside it.
        return f"{'https' if server.config.is_ssl else 'http'}://localhost"
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    scheme = "https" if server.config.is_ssl else "http"
    return f"{scheme}://{host}:{port}"


def _example(tasks: Set[Task]) -> tuple[str, str]:
    """A route that the model can serve, and a request to it."""
    if "generate" in tasks:
        question = (
            '{"messages": [{"role": "user", "content": "What is Inferneo?"}], "stream": true}'
        )
        return "chat/completions", question
    if "embed" in tasks:
        return "embeddings", '{"input": "What is Inferneo?"}'
    return "rerank", '{"query": "What is Inferneo?", "documents": ["A server", "A cat"]}'


def _banner(settings: Settings, url: str, seconds: float, route: str, body: str) -> str:
    key = (
        ""
        if not keys_required(settings)
        else '\n    -H "Authorization: Bearer $INFERNEO_API_KEY" \\'
    )
    unix = f"--unix-socket {settings.uds} " if settings.uds else ""
    # No browser speaks to a Unix socket.
    pages = "" if unix else f"Playground: {url}/playground    Documentation: {url}/docs    "
    return f"""
  Inferneo serves {settings.model_name} at {url}/v1 (loaded in {seconds:.0f} s)

  Try it:
  curl -N {unix}{url}/v1/{route} \\{key}
    -H 'Content-Type: application/json' \\
    -d '{body}'

  {pages}Stop: Ctrl-C
"""
