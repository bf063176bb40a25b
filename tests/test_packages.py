"""Proves that the packages depend on each other one way, and load no more than they must."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ROOT / "packages"
SOURCES = sorted(PACKAGES.glob("*/src/**/*.py"))
MAX_LINES = 400
INSTALL_SECONDS = 110

OURS = {"inferneo_core", "inferneo_server", "inferneo_client"}
MAY_IMPORT = {
    "inferneo_core": {"inferneo_core"},
    "inferneo_server": {"inferneo_core", "inferneo_server"},
    "inferneo_client": {"inferneo_core", "inferneo_client"},
}
ENGINES = "inferneo_server.engines."


def package_of(source: Path) -> str:
    return source.relative_to(PACKAGES).parts[2]


def inside(source: Path) -> str:
    """The path of a module inside its package."""
    return str(Path(*source.relative_to(PACKAGES).parts[3:]))


def imported(source: Path) -> Iterator[str]:
    """Everything that a file imports, wherever it does so, in dotted form."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{source}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(source: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(source)}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command as in a clean shell and give what it printed."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    }
    done = subprocess.run(
        command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=INSTALL_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(module: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds once it has imported one."""
    script = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    return {name.partition(".")[0] for name in json.loads(run(sys.executable, "-c", script))}


def project(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    return table


def test_core_installs_and_imports_alone_in_an_empty_environment(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    python = tmp_path / "venv" / "bin" / "python"
    run(uv, "venv", "--python", sys.executable, tmp_path / "venv")
    run(uv, "pip", "install", "--python", python, PACKAGES / "inferneo-core")

    listed = json.loads(run(uv, "pip", "list", "--python", python, "--format", "json"))
    exported = run(
        *(python, "-W", "error", "-c"),
        "import inferneo_core, inferneo_core.codec; print(*inferneo_core.__all__)",
        cwd=tmp_path,
    )

    assert {package["name"] for package in listed} == {"inferneo-core", "msgspec"}
    assert "ChatCompletionRequest" in exported.split()


def test_the_server_is_imported_without_any_model_library() -> None:
    heavy = {"vllm", "torch", "transformers", "tokenizers", "numpy"}

    assert loaded_by("inferneo_server.server").isdisjoint(heavy)


def test_the_servers_command_line_is_imported_without_its_web_framework() -> None:
    heavy = {"litestar", "uvicorn", "pydantic", "yaml", "prometheus_client"}

    assert loaded_by("inferneo_server.cli").isdisjoint(heavy)


def test_the_client_is_imported_with_nothing_but_itself() -> None:
    heavy = {"pydantic", "websockets", "httpx", "anyio", "msgspec", "inferneo_server", "litestar"}

    assert loaded_by("inferneo_client").isdisjoint(heavy)


@pytest.mark.parametrize("library", ["httpcore", "httpx", "pyreqwest"])
def test_one_module_of_the_client_imports_an_http_library(library: str) -> None:
    client = [source for source in SOURCES if package_of(source) == "inferneo_client"]

    assert [inside(source) for source in client if library in roots(source)] == [
        f"transports/{library}.py"
    ]


def test_there_are_sources_of_all_three_packages() -> None:
    assert {package_of(source) for source in SOURCES} == OURS


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: f"{package_of(path)}/{inside(path)}")
def test_a_file_imports_only_packages_that_its_own_may_know(source: Path) -> None:
    assert roots(source) & OURS <= MAY_IMPORT[package_of(source)]


@pytest.mark.parametrize(
    ("libraries", "prefixes"),
    [
        ({"vllm"}, ("engines/vllm",)),
        ({"torch"}, ("engines/torch",)),
        ({"transformers"}, ("engines/torch", "engines/vllm")),
        ({"tokenizers"}, ("engines/vllm", "engines/tokens")),
    ],
    ids=["vllm", "torch", "transformers", "tokenizers"],
)
def test_only_an_engine_imports_its_libraries(
    libraries: set[str], prefixes: tuple[str, ...]
) -> None:
    importers = {inside(source) for source in SOURCES if roots(source) & libraries}

    assert importers
    assert [name for name in importers if not name.startswith(prefixes)] == []


def test_core_imports_nothing_but_msgspec_and_the_standard_library() -> None:
    for source in SOURCES:
        if package_of(source) == "inferneo_core":
            others = roots(source) - sys.stdlib_module_names
            assert others <= {"msgspec", "inferneo_core"}, source


def test_transports_know_no_engine_but_by_its_contract() -> None:
    transports = [source for source in SOURCES if inside(source).startswith("transports/")]

    assert transports
    for source in transports:
        engines = {name for name in imported(source) if name.startswith(ENGINES)}
        assert all(name.startswith(f"{ENGINES}base") for name in engines), source


def test_what_stands_behind_the_transports_knows_no_web_framework() -> None:
    behind = [
        source
        for source in SOURCES
        if package_of(source) == "inferneo_server"
        and (
            inside(source) in ("service.py", "generation.py", "registry.py", "answers.py")
            or inside(source).startswith("engines/")
        )
    ]

    assert len(behind) > 4
    for source in behind:
        assert roots(source).isdisjoint({"litestar", "uvicorn", "starlette"}), source
        assert not any(name.startswith("inferneo_server.transports") for name in imported(source))


def test_no_file_is_longer_than_the_house_allows() -> None:
    files = [
        *SOURCES,
        *(path for folder in ("tests", "bench", "tools") for path in (ROOT / folder).rglob("*.py")),
    ]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}

    assert {path: count for path, count in lines.items() if count >= MAX_LINES} == {}


def test_the_three_packages_have_one_version_and_name_each_other_by_it() -> None:
    projects = {path.parent.name: project(path) for path in PACKAGES.glob("*/pyproject.toml")}
    versions = {table["version"] for table in projects.values()}
    pins = [
        dependency
        for table in projects.values()
        for dependency in table["dependencies"]
        if dependency.startswith("inferneo-")
    ]

    assert len(projects) == 3
    assert versions == {project(ROOT / "pyproject.toml")["version"]}
    assert pins == [f"inferneo-core=={version}" for version in versions for _ in range(2)]
