"""Receives a rendered request; hands on its generation: charged, let in by turn, and submitted."""

from collections.abc import Sequence

from msgspec import Struct

from inferneo_core.completions import CompletionRequest
from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import SamplingFields
from inferneo_server.admission import Demand, Queues, allowed_priority
from inferneo_server.answers.base import AnswerForm
from inferneo_server.engines.base import DeltaStream, Engine, Prompt
from inferneo_server.engines.joined import submit_all
from inferneo_server.engines.parsing import Parsing
from inferneo_server.generation import Generation, Terms
from inferneo_server.lease import Lease
from inferneo_server.spending import Spend, Spending
from inferneo_server.unwritten import UnwrittenStream


class Submission(Struct, frozen=True, kw_only=True):
    """A request that is ready for its engine.

    Attributes:
        form: words the answer.
        request: how to write it.
        prompts: what is answered.
        max_tokens: how long each answer may be; None is as long as there is room.
        asked: the request's field that says so; empty where it does not.
        logprobs: how many are told for each token.
        parsing: what is to be found in the text.
        unwritten: whether nothing is to be written, and the prompts only read.
    """

    form: AnswerForm
    request: SamplingFields
    prompts: Sequence[Prompt]
    max_tokens: int | None
    asked: str
    logprobs: int | None = None
    parsing: Parsing | None = None
    unwritten: bool = False

    @property
    def answers(self) -> int:
        """How many answers are written."""
        return len(self.prompts) * (self.request.n or 1)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(prompt.token_ids) for prompt in self.prompts)


async def submit(
    submission: Submission,
    lease: Lease,
    terms: Terms,
    *,
    spending: Spending,
    queues: Queues,
    log_bytes: int,
) -> Generation:
    """Charge a request, wait for its turn, hand it to the engine, and have it settled at its end.

    Args:
        submission: what is submitted.
        lease: the engine that writes the answer.
        terms: who asks, and for what beside the answer.
        spending: what callers may spend.
        queues: where requests wait for their turn.
        log_bytes: how much of the generation's log is kept, where it is.

    Raises:
        ApiError: it is refused.
    """
    form, request = submission.form, submission.request
    prompt_tokens = submission.prompt_tokens
    priority = allowed_priority(request.priority, terms.identity)
    spend = spending.open(terms.identity, form.model)
    max_tokens = submission.max_tokens
    if spend.limited:
        max_tokens = await _charge(spend, submission)
    demand = Demand(
        choices=submission.answers,
        prompt_tokens=prompt_tokens,
        priority=priority,
    )
    try:
        # Adapters share the engine of their model, and so its queue.
        queue, places = queues.of(lease.spec.name), lease.engine.max_running
        spend.place = await queue.enter(terms.identity, demand, places)
        stream = await _submit(submission, lease, max_tokens)
    except BaseException:
        spend.refund()
        raise
    options = request.stream_options
    return Generation(
        form,
        stream,
        choices=submission.answers,
        prompt_tokens=prompt_tokens,
        streamed=bool(request.stream),
        # Named events end with one that tells the usage, asked for or not.
        include_usage=form.named or (options is not None and options.include_usage is True),
        terms=terms,
        log_bytes=log_bytes,
        spend=spend,
    )


async def _charge(spend: Spend, submission: Submission) -> int | None:
    """Charge the request; gives how long each answer may be."""
    param = "prompt" if isinstance(submission.request, CompletionRequest) else "messages"
    spend.check_prompts([len(prompt.token_ids) for prompt in submission.prompts], param=param)
    max_tokens = spend.cap(submission.max_tokens, asked=submission.asked)
    await spend.reserve(submission.prompt_tokens, submission.answers, max_tokens)
    return max_tokens


async def _submit(submission: Submission, lease: Lease, max_tokens: int | None) -> DeltaStream:
    request, engine = submission.request, lease.engine
    stream = await submit_all(
        (
            engine.submit(
                f"{submission.form.id}-{number}",
                prompt,
                request,
                max_tokens=_within(max_tokens, engine, prompt, request.min_tokens or 0),
                streamed=bool(request.stream),
                logprobs=submission.logprobs,
                parsing=submission.parsing,
                adapter=lease.adapter,
            )
            for number, prompt in enumerate(submission.prompts)
        ),
        request.n or 1,
    )
    return UnwrittenStream(stream) if submission.unwritten else stream


def _within(max_tokens: int | None, engine: Engine, prompt: Prompt, min_tokens: int) -> int:
    """How long an answer may be: as was asked for, which fits, and never beyond the context.

    Raises:
        InvalidRequest: it must be longer.
    """
    room = engine.max_model_len - len(prompt.token_ids)
    longest = min(max_tokens or room, room)
    if min_tokens > longest:
        raise InvalidRequest(
            f"'min_tokens' asks for {min_tokens}; the answer may have {longest}",
            param="min_tokens",
        )
    return longest
