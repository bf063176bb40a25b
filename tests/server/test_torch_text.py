"""Proves that the torch engine's text is whole however tokens cut it, and ends where it must."""

from collections.abc import Sequence

import pytest

from inferneo_server.engines.torch_text import Detokenizer, Stops, Writer

TEXT = "Grüße, 漢字 and 🙂!"


def decode(token_ids: Sequence[int]) -> str:
    """Each token is a byte."""
    return bytes(token_ids).decode(errors="replace")


def written(text: str, stops: Sequence[str] = (), **options: bool | int) -> tuple[list[str], str]:
    """The pieces of a text that is fed byte by byte, and the stop string that ended it."""
    writer = Writer(decode, b"prompt", stops, **options)  # type: ignore[arg-type]
    pieces = []
    for byte in text.encode():
        pieces.append(writer.feed(byte))
        if writer.stop is not None:
            return pieces, writer.stop
    return [*pieces, writer.flush()], ""


def test_a_character_is_told_when_all_its_bytes_are_there() -> None:
    pieces, _ = written(TEXT)

    assert "".join(pieces) == TEXT
    assert [piece for piece in pieces if "\ufffd" in piece] == []
    assert pieces.count("") == len(TEXT.encode()) - len(TEXT) + 1


def test_what_never_becomes_a_character_is_told_all_the_same() -> None:
    detokenizer = Detokenizer(decode, b"")
    pieces = [detokenizer.feed(byte) for byte in b"\xf0" * 40 + b"ok"]

    assert "".join([*pieces, detokenizer.flush()]).endswith("ok")
    assert any(pieces[:20])


def test_an_incomplete_character_at_the_end_is_not_lost() -> None:
    detokenizer = Detokenizer(decode, b"")
    assert [detokenizer.feed(byte) for byte in b"a\xe6"] == ["a", ""]
    assert detokenizer.flush() == "\ufffd"


def test_tokens_without_a_text_are_not_read_again_and_again() -> None:
    longest = 0

    def special(token_ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(token_ids))
        return ""

    detokenizer = Detokenizer(special, b"")
    assert {detokenizer.feed(0) for _ in range(1000)} == {""}
    assert longest < 50


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize(
    ("text", "stops", "told", "found"),
    [
        ("one END two", ["END"], "one ", "END"),
        ("one EEND two", ["END"], "one E", "END"),
        ("ababac", ["abac"], "ab", "abac"),
        ("x, y; z", [";", ","], "x", ","),
        ("漢字 stop", ["字"], "漢", "字"),
        ("nothing here EN", ["END"], "nothing here EN", ""),
    ],
)
def test_a_stop_string_ends_the_text_and_is_never_told_in_part(
    text: str, stops: list[str], told: str, found: str, include: bool
) -> None:
    pieces, stop = written(text, stops, include_stop=include)

    assert stop == found
    assert "".join(pieces) == (told + found if include else told)


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    stops = Stops(["STOP"], include=False)
    assert [stops.feed(piece) for piece in ("a", "S", "T", "x", "b")] == ["a", "", "", "STx", "b"]


def test_no_stop_string_ends_a_text_before_its_least_length() -> None:
    pieces, stop = written("a.b.c.d", ["."], min_tokens=4)
    assert ("".join(pieces), stop) == ("a.b.c", ".")
