"""Takes a seed, hands on the folder of `inferneo-tiny`: trains the demo model from scratch.

    python tools/train_tiny_model.py --output DIR      # the run that made the shipped weights
    python tools/train_tiny_model.py --evaluate DIR    # what a folder's model can do

Needs torch >= 2.9, transformers and jinja2. Uses the first GPU when there is one.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_model.chat import Sample
from tiny_model.evaluate import evaluate
from tiny_model.export import export
from tiny_model.mixture import copying_samples, long_samples, samples
from tiny_model.packing import Batch, Packer
from tiny_model.tokenizer import CONTEXT, VOCABULARY, train_tokenizer
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SEED = 20261121
WARM = 60
ROWS, LENGTH = 8, 512
LONG_EVERY, LONG = 16, 4
"""Each so many steps has rows that are as many times longer, and fewer."""
TOKENIZER_SAMPLES = 40_000
EXPORT_EVERY = 100


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is learnt from, for how many steps, and over how many the learning rate falls."""

    samples: Callable[[int], Iterator[Sample]]
    seed: int
    steps: int
    fall: int


COURSES = [
    Course(samples=samples, seed=SEED + 1, steps=924, fall=600),
    Course(samples=copying_samples, seed=SEED + 3, steps=1203, fall=350),
]


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Builds the untrained model."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


def build_optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, which learns about twice as fast here; AdamW for everything else."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (others if "embed" in name or parameter.ndim < 2 else matrices).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=3e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def schedule(step: int, steps: int, fall: int) -> float:
    """Returns the share of the peak learning rate: a short warm-up, flat, then down to zero."""
    return min(1.0, (step + 1) / WARM, (steps - step) / fall)


def loss_of(model: LlamaForCausalLM, batch: Batch, device: torch.device) -> torch.Tensor:
    """Returns the mean loss of the tokens that the model is to write."""
    ids = batch.ids.to(device)
    mask = batch.mask().to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        states = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        # Only the positions that count go through the output layer, a third of all the work.
        wanted = batch.weights[:, 1:].to(device) > 0
        scores = model.lm_head(states[:, :-1][wanted])
    return cross_entropy(scores.float(), ids[:, 1:][wanted])


def learn(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    course: Course,
    output: Path,
    minutes: float = math.inf,
) -> None:
    """Trains a model through one course; writes the folder now and then, and at the end.

    With `minutes`, the learning rate starts to fall early enough to end in that time, so there
    may be fewer steps; the number in the last line, written into `COURSES`, repeats that run.
    """
    device, steps = model.device, course.steps
    optimizers = build_optimizers(model)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    short = Packer(tokenizer, course.samples(course.seed), rows=ROWS, length=LENGTH)
    long = Packer(tokenizer, long_samples(course.seed + 1), rows=ROWS // LONG, length=LENGTH * LONG)
    began, running, step = time.monotonic(), 0.0, 0
    while step < steps:
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * schedule(step, steps, course.fall)
        packer = short if (step + 1) % LONG_EVERY else long
        loss = loss_of(model, packer.batch(), device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        running = loss.item() if step == 0 else 0.95 * running + 0.05 * loss.item()
        step += 1
        spent = time.monotonic() - began
        # Not before a third of the time has passed: the first steps are slow and tell little.
        if spent > minutes * 20 and step + course.fall < steps:
            late = spent + spent / step * course.fall > minutes * 60
            steps = step + course.fall if late else steps
        if step % 20 == 0 or step == steps:
            speed, left = step * ROWS * LENGTH / spent, spent / step * (steps - step) / 60
            print(
                f"step {step}/{steps} loss {running:.4f} {speed:.0f} tok/s ETA {left:.1f} min",
                flush=True,
            )
        if step % EXPORT_EVERY == 0 or step == steps:
            export(model, tokenizer, output)


def train(output: Path, *, resumed: Path | None = None, minutes: float = math.inf) -> None:
    """Trains the tokenizer and the model from nothing, or the last course from a folder."""
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if resumed:
        tokenizer = AutoTokenizer.from_pretrained(resumed)
        model = AutoModelForCausalLM.from_pretrained(resumed, dtype=torch.float32)
    else:
        texts = (sample.render() for sample in itertools.islice(samples(SEED), TOKENIZER_SAMPLES))
        tokenizer = train_tokenizer(texts)
        model = build_model(tokenizer)
    model.to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}", flush=True)
    for course in COURSES[-1:] if resumed else COURSES:
        learn(model, tokenizer, course, output, minutes)
        # A folder holds bfloat16: going on from here is the same as going on from the folder.
        for parameter in model.parameters():
            parameter.data.copy_(parameter.data.bfloat16())


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="train, and write the model's folder here")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="only the last course, from DIR")
    parser.add_argument("--minutes", type=float, default=math.inf, help="time for each course")
    parser.add_argument(
        "--evaluate", type=Path, metavar="DIR", help="test the model in this folder"
    )
    arguments = parser.parse_args()
    if arguments.output:
        train(arguments.output, resumed=arguments.resume, minutes=arguments.minutes)
    if arguments.evaluate:
        evaluate(arguments.evaluate)


if __name__ == "__main__":
    main()
