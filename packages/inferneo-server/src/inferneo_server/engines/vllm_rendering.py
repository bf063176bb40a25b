"""Receives conversations and texts; hands on prompts of vLLM, by its renderer and past it."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import jinja2
import msgspec
from tokenizers import Tokenizer
from vllm.inputs.engine import tokens_input
from vllm.renderers import ChatParams
from vllm.renderers.hf import (
    HfRenderer,
    resolve_chat_template,
    resolve_chat_template_content_format,
)

from inferneo_core.chat import ChatCompletionRequest, Message
from inferneo_core.errors import ApiError, InvalidRequest
from inferneo_server.engines.base import Prompt
from inferneo_server.engines.chat_templates import characters, renderer_arguments
from inferneo_server.engines.tokens import INLINE_CHARACTERS
from inferneo_server.engines.vllm_errors import client_errors, template_errors

QUESTION = Message(role="user", content="?")
# What a template may tell apart of plain conversations.
_TRIED = (
    (QUESTION,),
    (Message(role="system", content="Be short."), QUESTION),
    (QUESTION, Message(role="assistant", content=" a\n"), Message(role="user", content="")),
    (QUESTION, Message(role="assistant", content="Yes")),
)
_PLAIN_ROLES = frozenset({"user", "assistant", "system"})
# Of a header that vLLM takes away.
_HEADER = "x-anthropic-billing-header"

logger = logging.getLogger(__name__)


class Rendering:
    """How one model's prompts are rendered.

    Args:
        renderer: vLLM's.
        own: our copy of the tokenizer, or None where it is none that can be copied.
        chat_template: a template in the place of the model's own.
    """

    def __init__(self, renderer: Any, own: Tokenizer | None, chat_template: str | None) -> None:
        self._renderer = renderer
        self._encode = own.encode if own else None
        self._chat_template = chat_template
        self._plain = self._proven()

    def _proven(self) -> "PlainChats | None":
        """What renders plain chats as vLLM does; None where it cannot, or does otherwise."""
        renderer = self._renderer
        # Others are made for one model; with prompts of embeddings this one looks into the texts.
        if type(renderer) is not HfRenderer or renderer.model_config.enable_prompt_embeds:
            return None
        try:
            plain = PlainChats(renderer, self._chat_template)
            for messages in _TRIED:
                for add in (True, False):
                    request = ChatCompletionRequest(
                        messages=list(messages), add_generation_prompt=add
                    )
                    text = plain.text(request)
                    if text is not None and text != self.by_vllm(request):
                        return None
        except Exception:  # vLLM tells it, with the requests that ask for it
            logger.debug("Chats are rendered by vLLM", exc_info=True)
            return None
        return plain

    async def has_template(self) -> bool:
        """Whether there is a chat template. By trying: vLLM knows those of models whose tokenizer
        has none."""
        try:
            await self.chat(ChatCompletionRequest(messages=[QUESTION]))
        except ApiError as error:
            if self._chat_template is None:
                return False
            logger.warning("The chat template takes no question alone: %s", error)
        return True

    async def chat(
        self,
        request: ChatCompletionRequest,
        *,
        special_tokens: bool = False,
        any_length: bool = False,
    ) -> Prompt:
        """See `Engine.render_chat`."""
        if self._encode and characters(request) <= INLINE_CHARACTERS:
            text = self._plain.text(request) if self._plain else None
            if text is None:
                text = self.by_vllm(request)
            with client_errors("messages"):
                return self._tokenized(text, special=special_tokens)
        renderer, params = self._renderer, self._params(request)
        conversation = msgspec.to_builtins(request.messages)
        with client_errors("messages"), template_errors(request):
            tokenizing = renderer.default_chat_tok_params
            if special_tokens or any_length:
                limit = None if any_length else tokenizing.max_total_tokens
                tokenizing = dataclasses.replace(
                    tokenizing, add_special_tokens=special_tokens, max_total_tokens=limit
                )
            _, (prompt,) = await renderer.render_chat_async([conversation], params, tokenizing)
        return Prompt(token_ids=prompt["prompt_token_ids"], rendered=prompt)

    def by_vllm(self, request: ChatCompletionRequest) -> str:
        """The text of a conversation that holds nothing but text, by vLLM's renderer.

        Raises:
            InvalidRequest: the template refuses it.
        """
        params, conversation = self._params(request), msgspec.to_builtins(request.messages)
        with client_errors("messages"), template_errors(request):
            _, rendered = self._renderer.render_messages(conversation, params)
            text: str = rendered["prompt"]
            return text

    def _params(self, request: ChatCompletionRequest) -> ChatParams:
        return ChatParams(
            chat_template=self._chat_template, chat_template_kwargs=renderer_arguments(request)
        )

    async def text(self, prompt: str | Sequence[int]) -> Prompt:
        """See `Engine.render_text`."""
        if not prompt:
            raise InvalidRequest("The prompt is empty", param="prompt")
        renderer = self._renderer
        with client_errors("prompt"):
            if not isinstance(prompt, str):
                renderer.validate_token_ids(prompt)
                return Prompt(token_ids=prompt, rendered=tokens_input(list(prompt)))
            if self._encode and len(prompt) <= INLINE_CHARACTERS:
                return self._tokenized(prompt, special=True)
            (rendered,) = await renderer.render_cmpl_async([{"prompt": prompt}])
        return Prompt(token_ids=rendered["prompt_token_ids"], rendered=rendered)

    def _tokenized(self, text: str, *, special: bool) -> Prompt:
        """Tokenise a short text here and now, past three layers that take longer than the work."""
        assert self._encode is not None
        token_ids = self._encode(text, add_special_tokens=special).ids
        return Prompt(token_ids=token_ids, rendered=tokens_input(token_ids))


class PlainChats:
    """Renders plain conversations by the compiled template itself: the layers above it, vLLM's and
    those of transformers, take as long again, and change nothing of them.

    Args:
        renderer: vLLM's, of a tokenizer of transformers.
        chat_template: a template in the place of the model's own.
    """

    def __init__(self, renderer: HfRenderer, chat_template: str | None) -> None:
        # Private, and what both of them call: where it is gone, vLLM renders.
        from transformers.utils.chat_template_utils import _compile_jinja_template

        tokenizer: Any = renderer.get_tokenizer()
        config = renderer.model_config
        text = resolve_chat_template(tokenizer, chat_template, None, model_config=config)
        form = resolve_chat_template_content_format(
            chat_template, None, "auto", tokenizer, model_config=config
        )
        self._template: jinja2.Template = _compile_jinja_template(text)
        self._parts = form == "openai"
        self._tokens: dict[str, Any] = dict(tokenizer.special_tokens_map)

    def text(self, request: ChatCompletionRequest) -> str | None:
        """The text of a conversation; None where there is more to it than its messages' texts, or
        where the template refuses it."""
        if (
            request.tools
            or request.chat_template_kwargs
            or request.reasoning_effort is not None
            or request.continue_final_message
        ):
            return None
        messages = []
        for message in request.messages:
            role, content = message.role, message.content
            if role not in _PLAIN_ROLES or not isinstance(content, str):
                return None
            if message != Message(role=role, content=content) or content.startswith(_HEADER):
                return None
            form = [{"type": "text", "text": content}] if self._parts else content
            messages.append({"role": role, "content": form})
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=request.add_generation_prompt is not False,
                **self._tokens,
            )
        except Exception:  # whatever a template does; vLLM's renderer words it
            return None
