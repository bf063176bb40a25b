"""Receives requests of `/api/v1/generate`; hands on the requests of `/v1` that they mean."""

from typing import Any

from inferneo_core.chat import ChatCompletionRequest, Message
from inferneo_core.completions import CompletionRequest
from inferneo_core.native import GenerateRequest

_SAME = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "ignore_eos",
    "stream",
    "user",
    "max_tokens",
)


def openai_request(
    request: GenerateRequest, *, chats: bool
) -> ChatCompletionRequest | CompletionRequest:
    """What a model is asked by a prompt.

    The page's prompts are instructions ("Please explain ..."), and its models are chat models:
    those answer an instruction only in the form of their template, and go on writing it without.
    So a model that has a template is asked in a conversation of one message; one that has none,
    which knows nothing but to go on with a text, is given the text.

    Args:
        request: what was sent.
        chats: whether the model has a chat template.
    """
    same: dict[str, Any] = {name: getattr(request, name) for name in _SAME}
    if not chats:
        return CompletionRequest(prompt=request.prompt, **same)
    return ChatCompletionRequest(messages=[Message(role="user", content=request.prompt)], **same)
