"""Receives a model and engine arguments; hands on contenders that start, run loads, stop."""

import http.client
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from bench.answers import Answer, Run
from bench.client import Client, first_in_line, post, undisturbed, waited_ns
from bench.loads import PROMPTS, Load, request_body, warm_up
from bench.processes import ProcessTree, cpu_ns, tree_cpu_ns
from bench.replies import read_stream, read_unary

EngineArgs = Mapping[str, str | int | float | bool]

# Given to all of them in full, so that nobody's own default makes a difference.
ENGINE_ARGS: Final[EngineArgs] = {
    "max_model_len": 2048,
    "max_num_seqs": 128,
    "max_num_batched_tokens": 4096,
    "dtype": "bfloat16",
    "enforce_eager": True,
    "gpu_memory_utilization": 0.3,
    "kv_cache_memory_bytes": 2**30,
    "enable_prefix_caching": True,
    "generation_config": "vllm",
    "seed": 0,
    # The engine's own statistics cost the API process of each the same, and would hide the rest.
    "disable_log_stats": True,
}

_ENVIRONMENT: Final = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
}

_HOST: Final = "127.0.0.1"
_START_S: Final = 300.0
_RUN_S: Final = 120.0
_ROOT: Final = Path(__file__).parent.parent


class ContenderFailed(Exception):
    """A contender did not start, or ended before it should."""


class Contender(Protocol):
    """Something that runs loads.

    Attributes:
        name: one word, for tables.
    """

    name: str

    def start(self) -> None:
        """Starts it and waits until it is ready.

        Raises:
            ContenderFailed: it ended, or was not ready in time.
        """

    def run(self, load: Load) -> Run:
        """Runs a load, warmed up, and gives answers that are well-formed.

        Raises:
            WrongAnswer: an answer is not.
            ContenderFailed: it ended.
        """

    def stop(self) -> None:
        """Ends every process of it. May be called twice, and before the start."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all contenders are given: a model's folder, engine arguments, a folder for logs."""

    model: Path
    engine_args: EngineArgs
    logs: Path

    def launch(self, name: str, command: Sequence[str], *, piped: bool = False) -> ProcessTree:
        """Starts a command in the environment that is the same for all."""
        # Our server would read its settings from there.
        inherited = {key: os.environ[key] for key in os.environ if not key.startswith("INFERNEO_")}
        return ProcessTree(
            command,
            log=self.logs / f"{name}.log",
            environment=inherited | _ENVIRONMENT,
            directory=_ROOT,
            piped=piped,
        )


class Server:
    """A contender that speaks HTTP; its command and its readiness path tell which."""

    def __init__(self, setup: Setup, *, name: str, command: Sequence[str], ready_path: str) -> None:
        self.name = name
        self._setup = setup
        self._command = command
        self._ready_path = ready_path
        self._tree: ProcessTree | None = None

    @property
    def pid(self) -> int:
        """The process that serves."""
        assert self._tree is not None
        return self._tree.pid

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._address

    def start(self) -> None:
        """Starts it on a free port and waits for its readiness path to say 200."""
        port = _free_port()
        self._address = (_HOST, port)
        command = [*self._command, "--host", _HOST, "--port", str(port)]
        self._tree = self._setup.launch(self.name, command)
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            if not self._tree.alive() or time.monotonic() > deadline:
                raise ContenderFailed(f"{self.name} did not start:\n{self._tree.log_tail()}")
            time.sleep(0.25)

    def run(self, load: Load) -> Run:
        """Runs a load over kept-alive connections that were each used once before."""
        assert self._tree is not None
        try:
            return self._drive(load, self._tree.pid)
        except OSError as error:
            tail = self._tree.log_tail()
            raise ContenderFailed(f"{self.name} broke off ({error}):\n{tail}") from error

    def stop(self) -> None:
        """Ends the server and its engine."""
        if self._tree is not None:
            self._tree.stop()

    def _drive(self, load: Load, pid: int) -> Run:
        with Client(self._address, connections=load.concurrency) as client:
            client.wave(self._requests(warm_up(load)), repeats=1)
            requests = self._requests(load)
            replies = []
            wall = 0
            with undisturbed(), first_in_line():
                waited = waited_ns()
                all_cpu = tree_cpu_ns(pid)
                api_cpu, client_cpu = cpu_ns(pid), time.process_time_ns()
                for _ in range(load.waves):
                    some, ns = client.wave(requests, repeats=load.repeats)
                    replies += some
                    wall += ns
                client_cpu = time.process_time_ns() - client_cpu
                api_cpu = cpu_ns(pid) - api_cpu
                all_cpu = tree_cpu_ns(pid) - all_cpu
                waited = waited_ns() - waited
        read = read_stream if load.kind == "stream" else read_unary
        answers: list[Answer] = [read(reply) for reply in replies]
        return Run(
            answers=answers,
            wall=wall,
            api_cpu=api_cpu,
            all_cpu=all_cpu,
            client_cpu=client_cpu,
            client_waited=waited,
        )

    def _requests(self, load: Load) -> list[bytes]:
        host = f"{_HOST}:{self._address[1]}"
        model = self._setup.model.name
        return [
            post(request_body(load, prompt, model=model), host=host, path="/v1/chat/completions")
            for prompt in range(len(PROMPTS))
        ]

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=2)
        try:
            connection.request("GET", self._ready_path)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class Bare:
    """The floor: `bench.bare` in a process of its own."""

    name = "bare"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._tree: ProcessTree | None = None

    def start(self) -> None:
        """Starts it and waits for its first line."""
        command = [
            *(sys.executable, "-m", "bench.bare", str(self._setup.model)),
            msgspec.json.encode(self._setup.engine_args).decode(),
        ]
        self._tree = self._setup.launch(self.name, command, piped=True)
        if self._line(_START_S) != b"ready\n":
            raise ContenderFailed(f"{self.name} did not start:\n{self._tree.log_tail()}")

    def run(self, load: Load) -> Run:
        """Has the load run over there, after a short one to warm up."""
        self._ask(warm_up(load))
        return self._ask(load)

    def stop(self) -> None:
        """Ends the loop and its engine."""
        if self._tree is not None:
            self._tree.stop()

    def _ask(self, load: Load) -> Run:
        assert self._tree is not None and self._tree.stdin is not None
        try:
            self._tree.stdin.write(msgspec.json.encode(load) + b"\n")
            self._tree.stdin.flush()
            line = self._line(_RUN_S)
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise ContenderFailed(f"{self.name} gave no answer:\n{self._tree.log_tail()}")
        return msgspec.json.decode(line, type=Run)

    def _line(self, timeout: float) -> bytes:
        assert self._tree is not None and self._tree.stdout is not None
        # One line per question, so nothing is left in the buffer that `select` would not see.
        ready, _, _ = select.select([self._tree.stdout], [], [], timeout)
        return self._tree.stdout.readline() if ready else b""


def inferneo(setup: Setup, *flags: str) -> Server:
    """Our server, by its command, without its access log."""
    command = [str(Path(sys.executable).parent / "inferneo-server"), "serve"]
    command += ["--engine", "vllm", "--model", str(setup.model), "--no-access-log"]
    for key, value in setup.engine_args.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        command += ["--engine-args", f"{key}={text}"]
    command += flags
    return Server(setup, name="inferneo", command=command, ready_path="/ready")


def vllm(setup: Setup, *flags: str) -> Server:
    """vLLM's own server, by its command, without its access log."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(setup.model), "--served-model-name", setup.model.name]
    command += ["--disable-uvicorn-access-log"]
    for key, value in setup.engine_args.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            command += [f"--{flag}", str(value)]
    command += flags
    return Server(setup, name="vllm", command=command, ready_path="/health")


CONTENDERS: Final[Mapping[str, Callable[[Setup], Contender]]] = {
    "inferneo": inferneo,
    "vllm": vllm,
    "bare": Bare,
}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        port: int = listener.getsockname()[1]
        return port
