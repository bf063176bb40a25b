"""Receives texts, chats and token ids; hands on their tokens, and texts again."""

import asyncio

from msgspec import UNSET

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.errors import InvalidRequest
from inferneo_core.tokens import (
    Detokenized,
    DetokenizeRequest,
    Tokenized,
    TokenizeRequest,
)
from inferneo_server.access.identity import Identity
from inferneo_server.checks import check_chat
from inferneo_server.engines.base import Engine
from inferneo_server.service import Service

# Of more tokens than this, the work is left to a thread.
INLINE_TOKENS = 4096
# A tokenizer lets no other thread run while it joins tokens: this many take a tenth of a second.
MAX_TOKENS = 131_072

_CHAT_FIELDS = (
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
)


async def tokenize(service: Service, request: TokenizeRequest, identity: Identity) -> Tokenized:
    """Split a text, or a chat as the model would read it, into tokens.

    Raises:
        ApiError: the request is refused.
    """
    with await service.lease(request.model, identity) as lease:
        tokens = await _tokens(lease.engine, request)
        async with service.spending.reading(identity, lease.name, [len(tokens)]):
            return await _tokenized(lease.engine, request, tokens)


async def _tokenized(engine: Engine, request: TokenizeRequest, tokens: list[int]) -> Tokenized:
    pieces = None
    if request.return_token_strs:
        if len(tokens) <= INLINE_TOKENS:
            pieces = engine.pieces(tokens)
        else:
            pieces = await asyncio.to_thread(engine.pieces, tokens)
    return Tokenized(
        count=len(tokens),
        max_model_len=engine.max_model_len,
        tokens=tokens,
        token_strs=UNSET if pieces is None else pieces,
    )


async def _tokens(engine: Engine, request: TokenizeRequest) -> list[int]:
    if (request.prompt is None) == (request.messages is None):
        raise InvalidRequest("Give either 'prompt' or 'messages'", param="prompt")
    special = request.add_special_tokens
    if request.messages is None:
        assert request.prompt is not None
        for name in _CHAT_FIELDS:
            if getattr(request, name) is not None:
                raise InvalidRequest(f"'{name}' needs 'messages'", param=name)
        (token_ids,) = await engine.tokenize([request.prompt], special_tokens=special is not False)
        return list(token_ids)
    chat = check_chat(
        ChatCompletionRequest(
            messages=request.messages, **{name: getattr(request, name) for name in _CHAT_FIELDS}
        )
    )
    prompt = await engine.render_chat(chat, special_tokens=bool(special), any_length=True)
    return list(prompt.token_ids)


async def detokenize(
    service: Service, request: DetokenizeRequest, identity: Identity
) -> Detokenized:
    """Join tokens to a text.

    Raises:
        ApiError: the request is refused.
    """
    with await service.lease(request.model, identity) as lease:
        engine = lease.engine
        limit = max(engine.max_model_len, MAX_TOKENS)
        if len(request.tokens) > limit:
            raise InvalidRequest(f"'tokens' has more than {limit} items", param="tokens")
        counts = [len(request.tokens)]
        try:
            async with service.spending.reading(identity, lease.name, counts):
                if len(request.tokens) <= INLINE_TOKENS:
                    return Detokenized(prompt=engine.detokenize(request.tokens))
                text = await asyncio.to_thread(engine.detokenize, request.tokens)
                return Detokenized(prompt=text)
        except InvalidRequest as error:
            error.param = "tokens"
            raise
