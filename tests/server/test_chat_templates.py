"""Proves what a template may be given, and that all that can make a prompt long is counted."""

from typing import Any

import pytest

from inferneo_core import ChatCompletionRequest, Message
from inferneo_core.chat import (
    AudioPart,
    FunctionCall,
    FunctionDefinition,
    ImagePart,
    ImageUrl,
    InputAudio,
    RefusalPart,
    TextPart,
    Tool,
    ToolCall,
)
from inferneo_core.errors import InvalidRequest
from inferneo_server.engines.chat_templates import characters, template_kwargs

LONG = "x" * 30_000
CALL = ToolCall(id="1", function=FunctionCall(name="a", arguments=LONG))


def asked(message: Message | None = None, **fields: Any) -> ChatCompletionRequest:
    short = Message(role="user", content="Hello")
    return ChatCompletionRequest(messages=[short, message or short], **fields)


@pytest.mark.parametrize(
    "request_",
    [
        asked(Message(role="user", content=LONG)),
        asked(Message(role="user", content=[TextPart(text="a"), TextPart(text=LONG)])),
        asked(Message(role="assistant", content=[RefusalPart(refusal=LONG)])),
        asked(Message(role="assistant", tool_calls=[CALL])),
        asked(Message(role="assistant", content="a", reasoning=LONG)),
        asked(tools=[Tool(function=FunctionDefinition(name="a", description=LONG))]),
        asked(tools=[Tool(function=FunctionDefinition(name="a", parameters={"a": {"b": [LONG]}}))]),
        asked(chat_template_kwargs={"documents": [{"text": LONG}]}),
    ],
    ids=["text", "part", "refusal", "call", "thought", "tool", "schema", "template"],
)
def test_whatever_is_long_is_counted(request_: ChatCompletionRequest) -> None:
    assert len(LONG) <= characters(request_) < len(LONG) + 200


def test_a_short_conversation_is_as_long_as_its_texts() -> None:
    assert characters(asked()) == 10
    assert characters(asked(Message(role="assistant"))) == 5


@pytest.mark.parametrize(
    "part",
    [
        ImagePart(image_url=ImageUrl(url="a")),
        AudioPart(input_audio=InputAudio(data="a", format="wav")),
    ],
)
def test_what_is_no_text_is_never_short(part: Any) -> None:
    assert characters(asked(Message(role="user", content=[part]))) == float("inf")


@pytest.mark.parametrize("name", ["tools", "documents"])
@pytest.mark.parametrize("value", [5, "a", {}, True])
def test_what_the_renderer_reads_itself_must_be_a_list(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}'") as caught:
        template_kwargs(asked(chat_template_kwargs={name: value}))
    assert caught.value.param == "chat_template_kwargs"
    lists: list[Any] = [[], [{}], None]
    for fits in lists:
        assert template_kwargs(asked(chat_template_kwargs={name: fits})) == {name: fits}
