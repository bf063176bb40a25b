"""Receives requests of `/v1/responses`; hands on readers of their answers, and what is stored."""

from collections.abc import Sequence
from functools import partial

import msgspec

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.codec import encode
from inferneo_core.errors import Cancelled, InvalidRequest
from inferneo_core.responses import Item, ItemList, Response, ResponseRequest
from inferneo_core.usage import Usage
from inferneo_server.access.identity import Identity
from inferneo_server.answers.chat import ChatDetails
from inferneo_server.answers.responses import ResponseForm
from inferneo_server.generation import Generation, Terms
from inferneo_server.rendering import Wording
from inferneo_server.response_store import ResponseStore, StoredResponse
from inferneo_server.service import Service
from inferneo_server.streams import Reader
from inferneo_server.translations.responses import (
    chat_request,
    check_response,
    input_items,
    renamed_fields,
)
from inferneo_server.truncation import shortened

MAX_LISTED = 100


class Responses:
    """The responses of a server.

    Args:
        service: answers them.
        store: keeps those that are asked for again.
    """

    def __init__(self, service: Service, store: ResponseStore) -> None:
        self._service = service
        self._store = store

    async def begin(
        self, request: ResponseRequest, terms: Terms, unstored: ResponseStore | None = None
    ) -> Reader:
        """Begin to answer a request.

        Args:
            request: what is asked.
            terms: whose it is, and what is asked for beside the answer.
            unstored: keeps what is not to be stored, where a socket goes on from it.

        Raises:
            ApiError: the request is refused.
        """
        with renamed_fields():
            chat, items, size = await self._asked(request, terms.identity, unstored)
            if request.background:
                terms = msgspec.structs.replace(
                    terms, resume_for=max(terms.resume_for, self._store.seconds)
                )
            wording = Wording(asked=request, form=partial(ResponseForm, request))
            reader = await self._service.begin(chat, terms, wording)
        store = unstored if request.store is False else self._store
        generation = reader.generation
        if store is not None and not reader.joined and isinstance(generation, Generation):
            _keep(store, generation, items, size)
        return reader

    async def prepare(
        self, request: ResponseRequest, identity: Identity, unstored: ResponseStore
    ) -> list[bytes]:
        """Keep what a response is to go on from, and answer nothing.

        Returns:
            The events of an empty response.

        Raises:
            ApiError: the request is refused.
        """
        with renamed_fields():
            chat, items, size = await self._asked(request, identity, unstored)
            tokens = await self._service.count_tokens(chat, identity)
        form = ResponseForm(request, self._service.registry.called(request.model), ChatDetails())
        usage = Usage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens)
        events = [*form.opening(0), form.usage_chunk(usage)]
        response = form.response("completed")
        stored = StoredResponse(
            owner=identity.owner,
            items=items,
            items_bytes=size,
            response=lambda: response,
            response_bytes=len(encode(response)),
        )
        (unstored if request.store is False else self._store).put(form.id, stored)
        return events

    async def count_tokens(self, request: ResponseRequest, identity: Identity) -> int:
        """How many tokens the model would read to answer a request.

        Raises:
            ApiError: the request is refused.
        """
        with renamed_fields():
            chat, _, _ = await self._asked(request, identity, None)
            return await self._service.count_tokens(chat, identity)

    async def _asked(
        self, request: ResponseRequest, identity: Identity, unstored: ResponseStore | None
    ) -> tuple[ChatCompletionRequest, tuple[Item, ...], int]:
        """What a request asks the model, the conversation that it stands for, and that one's bytes.

        Raises:
            ApiError: the request is refused.
        """
        check_response(request)
        before = self._before(request, identity.owner, unstored)
        earlier = before.conversation if before else ()
        new = input_items(request, earlier)
        items = (*earlier, *new)
        size = len(encode(new)) + (before.bytes if before else 0)
        chat = chat_request(request, items)
        if request.truncation == "auto":
            chat = await shortened(chat, partial(self._service.fits, identity=identity))
        return chat, items, size

    def _before(
        self, request: ResponseRequest, owner: str, unstored: ResponseStore | None
    ) -> StoredResponse | None:
        """What the request goes on from.

        Raises:
            InvalidRequest: it is not there, or has not ended.
        """
        name, param = request.previous_response_id, "previous_response_id"
        if name is None:
            return None
        stored = unstored.peek(name, owner) if unstored else None
        stored = stored or self._store.peek(name, owner)
        if stored is None:
            raise InvalidRequest(
                f"Previous response with id '{name}' not found",
                param=param,
                code="previous_response_not_found",
            )
        if stored.generation is not None:
            raise InvalidRequest(f"The response '{name}' has not ended", param=param)
        return stored

    def get(self, response_id: str, owner: str) -> Response:
        """A response as it stands.

        Raises:
            ResponseNotFound: it is not there.
        """
        return self._store.find(response_id, owner).response()

    def read(self, response_id: str, owner: str, after: int) -> Reader:
        """The events of a response behind one of them; -1 begins at the beginning.

        Raises:
            ResponseNotFound: it is not there.
            InvalidRequest: its events are not kept, or there has been no such event yet.
            EventsDropped: the events that follow are gone.
        """
        if not self._store.find(response_id, owner).kept:
            raise InvalidRequest(
                "The events are kept of a response that was begun with 'background' and 'stream', "
                "or with Inferneo-Resume-For",
                param="stream",
            )
        return self._service.streams.resume(response_id, owner, after)

    async def cancel(self, response_id: str, owner: str) -> Response:
        """End a response that is written in the background; does nothing after its end.

        Raises:
            ResponseNotFound: it is not there.
            InvalidRequest: it is not written in the background.
        """
        stored = self._store.find(response_id, owner)
        if not stored.response().background:
            raise InvalidRequest(
                "Only a response that was begun with 'background' can be cancelled",
                param="response_id",
            )
        if stored.generation is not None:
            await stored.generation.stop(Cancelled("The response was cancelled"))
        return stored.response()

    async def delete(self, response_id: str, owner: str) -> None:
        """Forget a response; what is still written of it in the background ends.

        Raises:
            ResponseNotFound: it is not there.
        """
        stored = self._store.remove(response_id, owner)
        if stored.generation is not None and stored.response().background:
            await stored.generation.stop(Cancelled("The response was deleted"))

    def input_items(
        self, response_id: str, owner: str, *, after: str | None, limit: int, order: str
    ) -> ItemList:
        """The conversation that a response answers, by pages.

        Raises:
            ResponseNotFound: it is not there.
            InvalidRequest: the page does not fit.
        """
        items: Sequence[Item] = self._store.find(response_id, owner).items
        if order == "desc":
            items = items[::-1]
        if after is not None:
            at = next((index for index, item in enumerate(items) if item.id == after), None)
            if at is None:
                raise InvalidRequest(f"There is no item '{after}'", param="after")
            items = items[at + 1 :]
        page = list(items[:limit])
        return ItemList(
            data=page,
            first_id=page[0].id if page else "",
            last_id=page[-1].id if page else "",
            has_more=len(items) > limit,
        )


def _keep(store: ResponseStore, generation: Generation, items: tuple[Item, ...], size: int) -> None:
    form = generation.form
    assert isinstance(form, ResponseForm)
    stored = StoredResponse(
        owner=generation.terms.owner,
        items=items,
        items_bytes=size,
        response=lambda: form.response("in_progress"),
        generation=generation,
        kept=generation.terms.resume_for > 0,
    )
    store.put(form.id, stored)

    def ended(error: Exception | None) -> None:
        stored.generation = None
        if error is None:
            generation.whole()
        response = form.response("completed") if error is None else form.failed(error)
        stored.response = lambda: response
        store.end(form.id, len(encode(response)))

    generation.when_ended(ended)
