"""Proves what the commands for keys print, and that each mistake is told in one line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from inferneo_server.cli import main
from tests.server.test_cli import run as run_program

KEY = re.compile(r"sk-inf-[0-9a-f]{12}-[\w-]{43}\n")


class Commands:
    """Runs commands for the keys of a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def __call__(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What a command prints, on standard output and on standard error."""
        with pytest.raises(SystemExit) as end:
            main(["keys", *arguments, "--state-dir", str(self._folder)])
        assert end.value.code == status
        printed = self._capsys.readouterr()
        return printed.out, printed.err

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json")[0])

    def mistake(self, *arguments: str, status: int = 1) -> str:
        printed, told = self(*arguments, status=status)
        assert printed == "" and "Traceback" not in told
        last = told.splitlines()[-1]
        assert last.startswith("inferneo-server")
        return last


@pytest.fixture
def keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The commands, for a folder without keys."""
    return Commands(tmp_path / "state", capsys)


def test_a_key_is_printed_once_and_alone(keys: Commands) -> None:
    printed, told = keys("create", "ann")
    secret = printed.strip()

    assert KEY.fullmatch(printed)
    assert secret not in told and "only time" in told
    for act in ("list", "show"):
        for form in ((), ("--json",)):
            shown, _ = keys(act, *(["ann"] if act == "show" else []), *form)
            assert "ann" in shown and secret[20:] not in shown


def test_what_a_key_may_do_is_given_and_shown(keys: Commands) -> None:
    made = keys.json(
        *("create", "ann", "--scope", "inference", "--scope", "admin", "--model", "a"),
        *("--model", "b", "--preset", "inferneo", "--limit", "requests_per_minute=5"),
        *("--limit", "requests-per-day=none", "--weight", "2", "--expires", "30d"),
    )
    shown = keys.json("show", "ann")

    assert made.pop("key").startswith("sk-inf-") and made == shown
    assert (shown["scopes"], shown["models"]) == (["inference", "admin"], ["a", "b"])
    assert shown["limits"] == {"requests_per_minute": 5, "tokens_per_minute": 150_000}
    assert shown["weight"] == 2.0
    assert shown["expires_at"] - shown["created_at"] == pytest.approx(30 * 86_400, abs=60)
    text, _ = keys("show", shown["id"])
    assert "requests_per_minute=5" in text and "a, b" in text


def test_an_update_changes_only_what_is_given(keys: Commands) -> None:
    made = keys.json("create", "ann", "--model", "a", "--limit", "tokens_per_day=5")
    made.pop("key")

    assert keys.json("update", "ann") == made
    changed = keys.json("update", "ann", "--limit", "tokens_total=9", "--expires", "2100-01-01")
    assert changed["limits"] == {"tokens_per_day": 5, "tokens_total": 9}
    assert (changed["models"], changed["expires_at"]) == (["a"], 4_102_444_800.0)
    assert keys.json("update", "ann", "--expires", "never", "--model", "any")["models"] is None
    assert keys.json("show", "ann")["expires_at"] is None
    assert keys.json("update", "ann", "--preset", "vllm-api-server")["limits"] == {
        "requests_per_minute": 1000,
        "concurrent_requests": 100,
        "max_prompt_tokens": 32_768,
        "max_completion_tokens": 4096,
    }


def test_a_list_leaves_out_what_has_ended(keys: Commands) -> None:
    keys("create", "ann")
    keys("create", "bob")
    keys("revoke", "bob")

    assert [each["name"] for each in keys.json("list")] == ["ann"]
    assert [each["name"] for each in keys.json("list", "--all")] == ["ann", "bob"]
    lines = keys("list", "--all")[0].splitlines()
    assert lines[0].split() == [
        "NAME",
        "ID",
        "SCOPES",
        "MODELS",
        "STATE",
        "EXPIRES",
        "LAST",
        "USED",
    ]
    assert [line.split()[4] for line in lines[1:]] == ["active", "revoked"]


def test_each_change_is_a_line_of_the_audit_log(
    keys: Commands, caplog: pytest.LogCaptureFixture
) -> None:
    for arguments in (["create", "ann"], ["update", "ann"], ["rotate", "ann"], ["revoke", "ann"]):
        caplog.clear()
        keys(*arguments)
        assert f"what='keys {arguments[0]} " in caplog.text and "(ann)" in caplog.text
    assert "who='user " in caplog.text and "sk-inf" not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "ann"], "there are no keys yet"),
        (["list"], "there are no keys yet"),
        (["create", "a\nb"], "NAME must be 1 to 64"),
        (["create", ""], "NAME must be"),
        (["create", "ann", "--limit", "requests_per_minut=5"], "did you mean requests_per_minute"),
        (["create", "ann", "--limit", "requests_per_minute"], "NAME=NUMBER"),
        (["create", "ann", "--limit", "requests_per_minute=-1"], "whole number"),
        (["create", "ann", "--limit", "requests_per_minute=x"], "whole number"),
        (["create", "ann", "--limit", "requests_per_minute=["], "whole number"),
        (["create", "ann", "--preset", "none"], "there is no preset"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_told(keys: Commands, arguments: list[str], told: str) -> None:
    assert told in keys.mistake(*arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "ann", "--expires", "soon"], "is no time"),
        (["create", "ann", "--expires", "2020-01-01"], "is over"),
        (["create", "ann", "--expires", "-1d"], "expected one argument"),
        (["create", "ann", "--weight", "0"], "above 0"),
        (["create", "ann", "--weight", "nan"], "above 0"),
        (["create", "ann", "--scope", "root"], "invalid choice"),
        (["create"], "NAME"),
        (["rotate", "ann", "--grace", "1"], "is no time"),
        (["destroy", "ann"], "invalid choice"),
    ],
    ids=str,
)
def test_a_wrong_use_is_told(keys: Commands, arguments: list[str], told: str) -> None:
    assert told in keys.mistake(*arguments, status=2)


def test_keys_that_are_there_or_gone_are_told(keys: Commands) -> None:
    keys("create", "ann")
    assert "already" in keys.mistake("create", "ann")
    assert "there is no key 'bob'" in keys.mistake("revoke", "bob")
    keys("revoke", "ann")
    assert "is revoked" in keys.mistake("rotate", "ann")


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path, keys: Commands) -> None:
    (tmp_path / "state").write_text("a file")
    assert "cannot be used" in keys.mistake("create", "ann")


def test_the_program_itself_has_the_commands(tmp_path: Path) -> None:
    done = run_program("keys", "create", "ann", INFERNEO_STATE_DIR=str(tmp_path))

    assert KEY.fullmatch(done.stdout), done.stderr
    assert "AUDIT who='user " in done.stderr
