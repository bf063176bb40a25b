"""Receives nothing; hands on a body for each kind of request, which `/docs` puts into its forms.

Any model that does what the route asks answers them; none names one.
"""

from typing import Any, Final

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.completions import CompletionRequest
from inferneo_core.embeddings import EmbeddingRequest
from inferneo_core.messages import CountRequest, MessagesRequest
from inferneo_core.models import LoadRequest, SwitchRequest
from inferneo_core.native import BatchRequest, GenerateRequest
from inferneo_core.responses import ResponseRequest
from inferneo_core.scores import RerankRequest, ScoreRequest
from inferneo_core.tokens import DetokenizeRequest, TokenizeRequest
from inferneo_server.transports.tokens import TokenRequest

_QUESTION = "What is Inferneo?"
_MESSAGES = [{"role": "user", "content": _QUESTION}]
_TEXTS = ["A server for language models", "A cat on a sofa"]

EXAMPLES: Final[dict[type, dict[str, Any]]] = {
    ChatCompletionRequest: {"messages": _MESSAGES, "max_tokens": 60, "temperature": 0},
    CompletionRequest: {"prompt": "Inferneo is", "max_tokens": 16, "temperature": 0},
    ResponseRequest: {"input": _QUESTION, "max_output_tokens": 60},
    MessagesRequest: {"messages": _MESSAGES, "max_tokens": 60},
    CountRequest: {"messages": _MESSAGES},
    GenerateRequest: {"prompt": _QUESTION, "max_tokens": 60},
    BatchRequest: {"requests": [{"prompt": _QUESTION, "max_tokens": 60}, {"prompt": "Hello"}]},
    EmbeddingRequest: {"input": _TEXTS},
    RerankRequest: {"query": _QUESTION, "documents": _TEXTS},
    ScoreRequest: {"text_1": _QUESTION, "text_2": _TEXTS},
    TokenizeRequest: {"prompt": _QUESTION},
    DetokenizeRequest: {"tokens": [1, 2, 3]},
    LoadRequest: {"model": "inferneo-tiny", "stream": True},
    SwitchRequest: {"device": "auto"},
    TokenRequest: {"seconds": 300},
}
