"""Receives what answers must fit; hands on what tells at each place which tokens do."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from inferneo_server.engines.torch_messages import Plan

# A grammar may take seconds to compile; the model writes on meanwhile.
_THREADS = 1
_CACHE_BYTES = 64 * 2**20


class Grammars:
    """Compiles grammars for one model, by xgrammar.

    Args:
        tokenizer: the model's.
        vocabulary: how many token ids there are.
        ends: token ids that end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: list[int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._ends = ends
        self._compiler: Any = None
        self._thread = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="grammar")

    def compile(self, plan: Plan) -> "Future[Any]":
        """Compile what a plan's answer must fit; fails where it cannot be compiled."""
        return self._thread.submit(self._compile, plan)

    def _compile(self, plan: Plan) -> Any:
        # Not before it is needed: most servers never do.
        import xgrammar

        if self._compiler is None:
            info = xgrammar.TokenizerInfo.from_huggingface(
                self._tokenizer, vocab_size=self._vocabulary, stop_token_ids=self._ends
            )
            self._compiler = xgrammar.GrammarCompiler(
                info, max_threads=1, cache_limit_bytes=_CACHE_BYTES
            )
        assert plan.structure is not None
        kind, value = plan.structure
        compiler = self._compiler
        if kind == "json_object":
            # Not xgrammar's own grammar of JSON, which takes a number or a list too.
            value, kind = {"type": "object"}, "json"
        if kind == "json":
            text = value if isinstance(value, str) else json.dumps(value)
            return compiler.compile_json_schema(text, any_whitespace=not plan.compact)
        if kind == "regex":
            return compiler.compile_regex(value)
        if kind == "choice":
            choices = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in value)
            return compiler.compile_grammar(f"root ::= {choices}")
        if kind == "structural_tag":
            return compiler.compile_structural_tag(value)
        return compiler.compile_grammar(value)

    def matcher(self, compiled: Any) -> "Matcher":
        """What follows one choice through a compiled grammar."""
        return Matcher(compiled, self._vocabulary)


class Matcher:
    """One choice's place in its grammar."""

    def __init__(self, compiled: Any, vocabulary: int) -> None:
        import xgrammar

        self._apply = xgrammar.apply_token_bitmask_inplace
        self._matcher = xgrammar.GrammarMatcher(compiled)
        self._bitmask = xgrammar.allocate_token_bitmask(1, vocabulary)

    def mask(self, logits: Any) -> None:
        """Make impossible, in a row of logits, what does not fit here."""
        if not self._matcher.is_terminated():
            self._matcher.fill_next_token_bitmask(self._bitmask)
            self._apply(logits, self._bitmask.to(logits.device))

    def accept(self, token_id: int) -> None:
        """Go on past a token."""
        if not self._matcher.is_terminated():
            self._matcher.accept_token(token_id)
