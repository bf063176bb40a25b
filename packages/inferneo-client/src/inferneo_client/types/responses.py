"""Receives nothing; hands on the answers of `/v1/responses`: responses and their items.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Iterator
from typing import Any

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo


class ContentPart(Answer, frozen=True, kw_only=True, gc=False):
    """A part of an item; `type` says which fields it has.

    `output_text`, `input_text`, `reasoning_text` and `summary_text` have `text`, `refusal` has
    `refusal`, `input_image` has `image_url`.
    """

    type: str = ""
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    detail: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class ResponseItem(Answer, frozen=True, kw_only=True, gc=False):
    """What went in, or came out; `type` says which fields it has.

    `message` has `role` and `content`; `reasoning` has `content` and `summary`; `function_call` has
    `call_id`, `name` and `arguments`, a JSON document in a string; `function_call_output` has
    `call_id` and `output`.
    """

    id: str = ""
    type: str = "message"
    status: str | None = None
    role: str = ""
    content: list[ContentPart] | str | None = None
    summary: list[ContentPart] | None = None
    encrypted_content: str | None = None
    phase: str | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: Any = None

    @property
    def text(self) -> str:
        """The texts of its content, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())


class ResponseUsage(Answer, frozen=True, kw_only=True, gc=False):
    """Tokens read and written; the details are what the server tells, as it tells it."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: dict[str, Any] | None = None
    output_tokens_details: dict[str, Any] | None = None


class ResponseFault(Answer, frozen=True, kw_only=True, gc=False):
    """Why a response failed."""

    code: str | None = None
    message: str = ""


class IncompleteDetails(Answer, frozen=True, kw_only=True, gc=False):
    """Why a response is not whole, such as `max_output_tokens`."""

    reason: str | None = None


class Response(Answer, frozen=True, kw_only=True, gc=False):
    """An answer; times are in seconds since 1970.

    `status` is `completed`, `incomplete`, `failed`, `cancelled`, or, as long as it is written,
    `queued` or `in_progress`. What repeats the request is as the server writes it.
    """

    id: str = ""
    object: str = "response"
    created_at: float = 0
    completed_at: float | None = None
    status: str = ""
    background: bool | None = None
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: Any = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str] | None = None
    model: str = ""
    output: list[ResponseItem] = []
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    prompt: Any = None
    prompt_cache_key: str | None = None
    reasoning: Any = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    temperature: float | None = None
    text: Any = None
    tool_choice: Any = None
    tools: list[Any] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: str | None = None
    usage: ResponseUsage | None = None
    user: str | None = None
    response: ResponseInfo | None = None

    @property
    def output_text(self) -> str:
        """What the model said: the texts of all its messages."""
        return "".join(item.text for item in self.output if item.type == "message")

    @property
    def function_calls(self) -> list[ResponseItem]:
        """The calls of functions that it asks for."""
        return [item for item in self.output if item.type == "function_call"]


class ItemList(Answer, frozen=True, kw_only=True, gc=False):
    """The items that a response answers; with `has_more`, ask for those `after` the `last_id`."""

    object: str = "list"
    data: list[ResponseItem] = []
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False
    response: ResponseInfo | None = None

    def __iter__(self) -> Iterator[ResponseItem]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


class InputTokens(Answer, frozen=True, kw_only=True, gc=False):
    """How many tokens the model would read to answer a request."""

    input_tokens: int


class DeletedResponse(Answer, frozen=True, kw_only=True, gc=False):
    """That a response was forgotten."""

    id: str = ""
    object: str = "response"
    deleted: bool = False
