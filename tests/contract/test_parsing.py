"""Proves that what vLLM's parsers find does not hang on how an answer was cut into steps."""

from pathlib import Path
from typing import Any

import pytest

import inferneo_server
from inferneo_core.chat import ChatCompletionRequest, Message
from inferneo_server.engines.base import DetailedDelta, Prompt

# Of the libraries that vLLM is made of.
pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = Path(inferneo_server.__file__).parent / "embedded" / "inferneo-tiny"
ANSWER = "<think>\nThree and four.\n</think>\n\nSeven."


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
def test_reasoning_is_found_in_steps_of_any_length(step: int) -> None:
    from transformers import AutoTokenizer

    from inferneo_server.engines.vllm_parsing import Reader

    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)
    reader = Reader(tokenizer, None, None, "deepseek_v3")
    request = ChatCompletionRequest(
        messages=[Message(role="user", content="What is 3 plus 4?")], reasoning_effort="high"
    )
    parsing = reader.parsing(request, Prompt(token_ids=[1]))
    assert parsing is not None
    parser = parsing.parser()
    token_ids = tokenizer.encode(ANSWER, add_special_tokens=False)

    pieces = []
    for at in range(0, len(token_ids), step):
        cut = token_ids[at : at + step]
        reason = "stop" if at + step >= len(token_ids) else None
        text = tokenizer.decode(cut)
        delta = DetailedDelta(index=0, text=text, token_ids=cut, finish_reason=reason)
        pieces.append(parser.feed(delta))

    assert "".join(piece.reasoning for piece in pieces) == "\nThree and four.\n"
    assert "".join(piece.content for piece in pieces) == "\n\nSeven."
