"""Receives commands; hands on reports of what a model on PyTorch made of them, step by step."""

import functools
import queue
import re
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import torch
import transformers
from msgspec import Struct
from transformers import GenerationConfig

from inferneo_server.engines.torch_choice import Choice
from inferneo_server.engines.torch_grammars import Grammars
from inferneo_server.engines.torch_messages import (
    Abort,
    Accepted,
    Command,
    Failed,
    Loaded,
    Options,
    Pool,
    Report,
    Write,
    packed,
)
from inferneo_server.engines.torch_model import Model
from inferneo_server.engines.torch_plan import DEFAULTS
from inferneo_server.engines.torch_pooling import Pooling
from inferneo_server.engines.torch_sampling import Row
from inferneo_server.engines.torch_scheduler import FAILED, Scheduler, broken, logger


class Compiled(Struct, frozen=True):
    """A grammar has been compiled, or could not be."""

    write: Write
    result: Future[Any]


def load(options: Options) -> Model:
    """Load a model, in silence.

    Raises:
        EngineStartError: it cannot be loaded.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return Model(options)


class Worker:
    """Works on the requests to one model.

    Args:
        model: the model.
        max_num_seqs: choices that are written at once, at most.
        commands: where the server's commands come from.
    """

    def __init__(self, model: Model, max_num_seqs: int, commands: "queue.SimpleQueue[Any]") -> None:
        self._model = model
        self._commands = commands
        self._ends, self._defaults = _generation(model)
        self._grammars = Grammars(model.tokenizer, model.vocabulary, sorted(self._ends))
        self._compiling: set[int] = set()
        self._scheduler = Scheduler(model, self._choices, max_num_seqs)
        self._pooling: deque[tuple[int, Pooling]] = deque()
        self._reports: list[Report] = []
        # Each of the few tokens that most logprobs are of is decoded once.
        self._token_text = functools.lru_cache(maxsize=65_536)(
            lambda each: self._decode_all([each])
        )

    @property
    def loaded(self) -> Loaded:
        """What the server must know of the model."""
        model = self._model
        return Loaded(
            tasks=[model.task],
            max_model_len=model.max_model_len,
            vocabulary=model.vocabulary,
            defaults=self._defaults,
            device=str(model.device),
            vector_size=model.config.hidden_size if model.task == "embed" else 0,
            shorter=getattr(model.config, "matryoshka_dimensions", None) or (),
            shortable=bool(getattr(model.config, "is_matryoshka", False)),
            lower_case=model.pooling.lower_case,
        )

    def run(self, send: Callable[[bytes], Any]) -> None:
        """Work until the process ends."""
        with torch.inference_mode():
            while True:
                self.take()
                if reports := self.step():
                    send(packed(reports))

    def step(self) -> list[Report]:
        """Work a little on all that there is, and tell what came of it."""
        if self._pooling:
            self._pool()
        if self._scheduler.busy:
            self._reports += self._scheduler.step()
        reports, self._reports = self._reports, []
        return reports

    def take(self) -> None:
        """Take the commands that have come; wait for one where there is nothing else to do."""
        idle = not (self._pooling or self._scheduler.busy or self._reports)
        while idle or not self._commands.empty():
            self._do(self._commands.get())
            idle = False

    def _do(self, command: Command | Compiled) -> None:
        if isinstance(command, Abort):
            self._compiling.discard(command.key)
            self._pooling = deque(each for each in self._pooling if each[0] != command.key)
            self._scheduler.abort(command.key)
        elif isinstance(command, Pool):
            self._pooling.append((command.key, Pooling(self._model, command)))
        elif isinstance(command, Compiled):
            self._compiled(command)
        elif command.plan.structure is None:
            self._add(command, None)
        else:
            self._compiling.add(command.key)
            compiling = self._grammars.compile(command.plan)
            compiling.add_done_callback(lambda done: self._commands.put(Compiled(command, done)))

    def _compiled(self, command: Compiled) -> None:
        key = command.write.key
        if key not in self._compiling:
            return
        self._compiling.discard(key)
        error = command.result.exception()
        if error is not None:
            # Without the time and the place in xgrammar's own sources.
            message = re.sub(r"^\[[\d:]+\] \S+ ", "", " ".join(str(error).split()))[:500]
            self._reports.append(
                Failed(key=key, message=f"The grammar cannot be compiled: {message}", param="")
            )
            return
        self._reports.append(Accepted(key=key))
        self._add(command.write, command.result.result())

    def _add(self, write: Write, grammar: Any) -> None:
        try:
            self._scheduler.add(write, grammar)
        except Exception as error:
            self._reports.append(self._failed(write.key, error))

    def _failed(self, key: int, error: Exception) -> Failed:
        """What is told of a request that fails; raises the error where nothing will work now."""
        if broken(error):
            raise error
        logger.exception("A step of the torch engine failed", exc_info=error)
        return Failed(key=key, message=FAILED)

    def _pool(self) -> None:
        """Work some more on the first request, and let the next one have its turn."""
        key, pooling = self._pooling.popleft()
        try:
            done = pooling.step()
        except Exception as error:
            self._reports.append(self._failed(key, error))
            return
        if done is None:
            self._pooling.append((key, pooling))
        else:
            self._reports.append(done)

    def _choices(self, write: Write, grammar: Any) -> Sequence[Choice]:
        return [self._choice(write, index, grammar) for index in range(write.plan.choices)]

    def _choice(self, write: Write, index: int, grammar: Any) -> Choice:
        plan, model = write.plan, self._model
        return Choice(
            write.key,
            index,
            write.token_ids,
            plan,
            Row(
                plan,
                index,
                write.token_ids,
                self._ends,
                model.vocabulary,
                model.device,
                None if grammar is None else self._grammars.matcher(grammar),
            ),
            decode=self._decode if plan.skip_special else self._decode_all,
            ends=self._ends,
            token_text=self._token_text,
        )

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._model.tokenizer.decode(token_ids, skip_special_tokens=True)
        return text

    def _decode_all(self, token_ids: Sequence[int]) -> str:
        text: str = self._model.tokenizer.decode(token_ids)
        return text


def _generation(model: Model) -> tuple[frozenset[int], dict[str, float]]:
    """The token ids that end a text, and the model's own way to sample."""
    ends = {model.tokenizer.eos_token_id}
    if model.task != "generate":
        return frozenset(), {}
    config: GenerationConfig = model.model.generation_config
    own = config.eos_token_id
    ends.update(own if isinstance(own, list) else [own])
    given = config.to_diff_dict()
    defaults = {name: given[name] for name in DEFAULTS if given.get(name) is not None}
    return frozenset(ends - {None}), defaults
