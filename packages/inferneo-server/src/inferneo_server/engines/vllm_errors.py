"""Receives what vLLM raises; hands on our own errors."""

import contextlib
from collections.abc import Iterator

from pydantic import ValidationError
from vllm.exceptions import VLLMClientError, VLLMValidationError

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.errors import ContextLengthExceeded, InvalidRequest


@contextlib.contextmanager
def client_errors(param: str | None) -> Iterator[None]:
    """Raise what vLLM finds wrong with a request as our own errors."""
    try:
        yield
    except VLLMValidationError as error:
        message = str(error.args[0])
        if error.parameter in ("input_text", "input_tokens"):
            raise ContextLengthExceeded(message, param=param) from error
        raise InvalidRequest(message, param=error.parameter or param) from error
    except (VLLMClientError, ValueError) as error:
        raise InvalidRequest(str(error), param=param) from error


@contextlib.contextmanager
def template_errors(request: ChatCompletionRequest) -> Iterator[None]:
    """Raise what fails on a request's own template arguments, in whatever way, as its fault."""
    try:
        yield
    except (VLLMClientError, ValueError):
        raise
    except Exception as error:
        if not request.chat_template_kwargs:
            raise
        raise InvalidRequest(
            f"The chat template cannot take what it was given: {error}",
            param="chat_template_kwargs",
        ) from error


def start_failure(error: Exception) -> str:
    """Why vLLM does not start, in one line; its configuration fails by pydantic, at length."""
    text = str(error)
    if isinstance(error, ValidationError):
        text = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
    return " ".join(text.split())
