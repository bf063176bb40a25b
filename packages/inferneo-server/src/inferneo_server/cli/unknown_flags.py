"""Receives a flag that is none here; hands on what was meant by it, for who comes from vLLM."""

import ast
import difflib
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path

# What `vllm serve` calls otherwise. Those of its flags that are the engine's are read from vLLM.
_OF_VLLM = {
    "--allowed-origins": "here it is --cors-origins",
    "--ssl-certfile": "here it is --tls-cert",
    "--ssl-keyfile": "here it is --tls-key",
    "--tool-call-parser": "here it is --tool-parser",
    "--enable-auto-tool-choice": "it is not needed: calls are found by --tool-parser",
    "--uvicorn-log-level": "here it is --log-level",
    "--disable-uvicorn-access-log": "here it is --no-access-log",
    "--disable-log-requests": "prompts are not logged unless --log-prompts is given",
    "--enable-log-requests": "here it is --log-prompts",
}
_OF_TORCH = {"device", "dtype", "max_model_len", "max_num_seqs", "max_queue"}


def advice(flag: str, given: Sequence[str], known: Collection[str]) -> str:
    """What to write instead of a flag, as the end of a sentence; nothing where that is not clear.

    Args:
        flag: the one that is not known, without a value.
        given: the whole command line, which may tell the value.
        known: the flags that there are.
    """
    if told := _OF_VLLM.get(flag):
        return f"; {told}"
    name = flag.removeprefix("--").replace("-", "_")
    if flag.startswith("--") and name in _OF_TORCH | _engine_arguments():
        return f"; it is an argument of the engine: --engine-args {name}={_value(flag, given)}"
    near = difflib.get_close_matches(flag, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _value(flag: str, given: Sequence[str]) -> str:
    """The value that a flag was given; one without is a switch."""
    for place, argument in enumerate(given):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag:
            value = given[place + 1 : place + 2]
            return value[0] if value and not value[0].startswith("-") else "true"
    return "true"


def _engine_arguments() -> set[str]:
    """The names of vLLM's arguments, where it is installed. To import it would take seconds."""
    vllm = find_spec("vllm")
    if vllm is None or vllm.origin is None:
        return set()
    try:
        source = ast.parse((Path(vllm.origin).parent / "engine" / "arg_utils.py").read_text())
    except (OSError, SyntaxError):
        return set()
    return {
        field.target.id
        for kind in source.body
        if isinstance(kind, ast.ClassDef) and kind.name.endswith("EngineArgs")
        for field in kind.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }
