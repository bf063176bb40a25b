"""Receives the handshake of a WebSocket and its frames; hands on recorded answers, as frames."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from tests.client.recorded import EVENTS, USAGE, WHOLE

# The usage travels with the end, and has no chunk of its own.
CHUNKS = [json.loads(event) for event in EVENTS[:-1]]


def answers(
    asked: dict[str, Any], generation: Callable[[str], str], hold: int | None
) -> Iterator[dict[str, Any]]:
    """The frames that answer one; `generation` gives the id of that of an idempotency key.

    A stream stops before the event `hold`, and goes on where it is picked up again.
    """
    head = {"request_id": asked.get("request_id")}
    resumed = asked.get("type") == "resume"
    identity = asked["id"] if resumed else generation(asked["idempotency_key"])
    if not (resumed or asked.get("stream")):
        yield {**head, **json.loads(WHOLE)}
        return
    for number, chunk in enumerate(CHUNKS):
        if number == hold and not resumed:
            return
        if number > asked.get("after", -1):
            yield {**head, "seq": number, **chunk, "id": identity}
    end = {"object": "chat.completion.done", "id": identity, "usage": USAGE}
    yield {**head, "seq": len(CHUNKS), **end}


async def serve_socket(
    handshake: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    generation: Callable[[str], str],
    cancelled: list[str],
    hold: int | None,
) -> None:
    """Speak with one client until it leaves; what it cancels is added to `cancelled`."""
    protocol = ServerProtocol()
    protocol.receive_data(handshake)
    while protocol.state is not State.CLOSED:
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                asked = json.loads(bytes(event.data))
                if asked.get("type") == "cancel":
                    cancelled.append(str(asked["request_id"]))
                    continue
                for frame in answers(asked, generation, hold):
                    protocol.send_text(json.dumps(frame, ensure_ascii=False).encode())
        *pieces, last = [b"", *protocol.data_to_send()]
        # In one write: to a broken connection each further one is a warning.
        writer.write(b"".join([*pieces, last]))
        await writer.drain()
        if pieces and not last:
            writer.write_eof()
        if data := await reader.read(65536):
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
