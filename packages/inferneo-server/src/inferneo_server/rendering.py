"""Receives decoded requests; hands on submissions: checked, rendered, with the answer's form."""

from collections.abc import Callable, Sequence

import msgspec

from inferneo_core.chat import AudioPart, ChatCompletionRequest, ImagePart, NamedTool
from inferneo_core.completions import DEFAULT_MAX_TOKENS, CompletionRequest
from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import SamplingFields, StreamOptions
from inferneo_server.answers.base import AnswerForm
from inferneo_server.answers.chat import ChatDetails, ChatForm, DetailedChatForm
from inferneo_server.answers.text import DetailedTextForm, TextDetails, TextForm
from inferneo_server.checks import check_chat, check_room, check_text, split_prompt
from inferneo_server.engines.base import Engine, Prompt
from inferneo_server.lease import Lease
from inferneo_server.submission import Submission


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    """How another route's request, which was translated into one of OpenAI's, is answered.

    Attributes:
        asked: the request as it was sent: what repeats are known by.
        form: makes the form of the answer, for a model's name and what is to be told.
    """

    asked: msgspec.Struct
    form: Callable[[str, ChatDetails], AnswerForm]


async def render_chat(
    lease: Lease, request: ChatCompletionRequest, wording: Wording | None
) -> Submission:
    """Make a submission of a chat request.

    Raises:
        ApiError: the request is refused.
    """
    engine = lease.engine
    request = check_chat(request)
    max_tokens = request.max_completion_tokens or request.max_tokens
    prompt = await _chat_prompt(engine, request, max_tokens)
    check_room([prompt], max_tokens, engine, param="messages")
    parsing = engine.parsing(request, prompt)
    details = ChatDetails(
        parsing=parsing,
        logprobs=bool(request.logprobs),
        token_ids=bool(request.return_token_ids),
        prompt_token_ids=prompt.token_ids,
        prompt_logprobs=request.prompt_logprobs is not None,
        continuous_usage=_options(request).continuous_usage_stats is True,
        named=isinstance(request.tool_choice, NamedTool),
    )
    return Submission(
        form=_chat_form(lease.name, details, wording),
        request=request,
        prompts=[prompt],
        max_tokens=max_tokens,
        asked=_asked(request),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        parsing=parsing,
    )


async def render_completion(
    lease: Lease, request: CompletionRequest, wording: Wording | None
) -> Submission:
    """Make a submission of a request to continue texts.

    Raises:
        ApiError: the request is refused.
    """
    engine = lease.engine
    texts = split_prompt(request.prompt)
    check_text(request, len(texts))
    # Of an engine nothing at all cannot be asked for.
    unwritten = request.max_tokens == 0
    default = None if wording else DEFAULT_MAX_TOKENS
    max_tokens = 1 if unwritten else request.max_tokens or default
    if request.suffix is None:
        prompts = [await _text_prompt(engine, text, request, max_tokens) for text in texts]
    else:
        [text] = texts
        before = text if isinstance(text, str) else engine.detokenize(text)
        prompts = [await engine.render_infill(before, request.suffix)]
    check_room(prompts, max_tokens, engine, param="prompt")
    choices = request.n or 1
    details = TextDetails(
        logprobs=request.logprobs,
        prompt_token_ids=[prompt.token_ids for prompt in prompts],
        prompt_logprobs=request.prompt_logprobs is not None,
        token_ids=bool(request.return_token_ids),
        continuous_usage=_options(request).continuous_usage_stats is True,
        choices=choices,
        best_of=request.best_of or choices,
    )
    logprobs = request.logprobs
    if details.best_of > choices:
        # They are ranked by the logprobs of their tokens.
        request = msgspec.structs.replace(request, n=details.best_of)
        logprobs = logprobs or 0
    if request.echo:
        details = _echoing(details, engine, prompts, texts)
        if logprobs is not None and request.prompt_logprobs is None:
            request = msgspec.structs.replace(request, prompt_logprobs=logprobs)
    return Submission(
        form=_text_form(lease.name, details, wording),
        request=request,
        prompts=prompts,
        max_tokens=max_tokens,
        asked="" if request.max_tokens is None else "max_tokens",
        logprobs=logprobs,
        unwritten=unwritten,
    )


def _asked(request: ChatCompletionRequest) -> str:
    """The field that says how long the answer may be; empty where there is none."""
    if request.max_completion_tokens:
        return "max_completion_tokens"
    return "max_tokens" if request.max_tokens else ""


def _text_form(name: str, details: TextDetails, wording: Wording | None) -> AnswerForm:
    if wording is not None:
        return wording.form(name, ChatDetails())
    return DetailedTextForm(name, details) if details.any else TextForm(name)


def _chat_form(name: str, details: ChatDetails, wording: Wording | None) -> AnswerForm:
    if wording is not None:
        return wording.form(name, details)
    return DetailedChatForm(name, details) if details.any else ChatForm(name)


def _options(request: SamplingFields) -> StreamOptions:
    return request.stream_options or _NO_OPTIONS


async def _chat_prompt(
    engine: Engine, request: ChatCompletionRequest, max_tokens: int | None
) -> Prompt:
    """The prompt of a conversation, or what the request wants of it."""
    if request.truncate_prompt_tokens is None:
        return await engine.render_chat(request)
    prompt = await engine.render_chat(request, any_length=True)
    kept = _truncated(prompt.token_ids, engine, request, max_tokens)
    if len(kept) == len(prompt.token_ids):
        return prompt
    for number, message in enumerate(request.messages):
        if not isinstance(message.content, str | None) and any(
            isinstance(part, ImagePart | AudioPart) for part in message.content
        ):
            raise InvalidRequest(
                "A conversation with pictures or sound cannot be cut: leave out "
                f"'truncate_prompt_tokens', or what is in messages[{number}]",
                param="truncate_prompt_tokens",
            )
    return await engine.render_text(kept)


async def _text_prompt(
    engine: Engine,
    text: str | Sequence[int],
    request: CompletionRequest,
    max_tokens: int | None,
) -> Prompt:
    """The prompt of a text, or what the request wants of it."""
    if request.truncate_prompt_tokens is None or not text:
        return await engine.render_text(text)
    # Of any length, which texts to be rendered are not.
    token_ids = (await engine.tokenize([text]))[0] if isinstance(text, str) else text
    return await engine.render_text(_truncated(token_ids, engine, request, max_tokens))


def _truncated(
    token_ids: Sequence[int], engine: Engine, request: SamplingFields, max_tokens: int | None
) -> Sequence[int]:
    """The end of a prompt, or its beginning: as much as the request asks for.

    Raises:
        InvalidRequest: that is nothing.
    """
    kept = request.truncate_prompt_tokens or 0
    if not kept:
        raise InvalidRequest(
            "'truncate_prompt_tokens' of 0 leaves nothing of the prompt",
            param="truncate_prompt_tokens",
        )
    room = engine.max_model_len - (max_tokens or 1)
    if room < 1:
        return token_ids  # which is refused: the answer alone is too long
    kept = room if kept < 0 else min(kept, room)
    return token_ids[:kept] if request.truncation_side == "right" else token_ids[-kept:]


def _echoing(
    details: TextDetails,
    engine: Engine,
    prompts: Sequence[Prompt],
    texts: Sequence[str | Sequence[int]],
) -> TextDetails:
    echoed = [
        text if isinstance(text, str) else engine.detokenize(prompt.token_ids)
        for text, prompt in zip(texts, prompts, strict=True)
    ]
    tokens = [
        engine.token_texts(prompt.token_ids) if details.logprobs is not None else []
        for prompt in prompts
    ]
    return msgspec.structs.replace(details, prompts=echoed, prompt_tokens=tokens)


_NO_OPTIONS = StreamOptions()
