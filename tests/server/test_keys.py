"""Proves whose a key or a token is, and that nobody makes a token but by a key."""

import base64
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferneo_core.errors import AuthenticationFailed
from inferneo_server.access.identity import ANYONE
from inferneo_server.access.keys import Keys
from inferneo_server.access.tokens import token_secret

ANN, BOB = "sk-ann", "sk-bob"
KEYS = Keys([ANN, BOB])
ANN_IDENTITY, BOB_IDENTITY = KEYS.identity(ANN), KEYS.identity(BOB)
OWNER = ANN_IDENTITY.owner
SECRET = token_secret(ANN.encode())
AUDIENCE = "inferneo-browser"


def refusal(credential: str, keys: Keys = KEYS) -> str:
    with pytest.raises(AuthenticationFailed) as caught:
        keys.identity(credential)
    return caught.value.message


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token, but for the changes; None leaves one out."""
    usual = {"sub": OWNER, "scopes": ["inference"], "aud": AUDIENCE, "exp": int(time.time()) + 60}
    return {name: value for name, value in (usual | changes).items() if value is not None}


def encoded(*parts: bytes) -> str:
    """Parts as a token joins them."""
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def signed(secret: bytes = SECRET, *, algorithm: str = "HS256", **changes: Any) -> str:
    """A token made by hand, so that it may hold what no library would write."""
    header = {"alg": algorithm, "typ": "inferneo-token", "kid": OWNER}
    token = encoded(json.dumps(header).encode(), json.dumps(claims(**changes)).encode())
    digest = {"HS256": "sha256", "HS512": "sha512"}[algorithm]
    return f"{token}.{encoded(hmac.digest(secret, token.encode(), digest))}"


def test_each_key_has_an_owner_of_its_own_who_is_not_the_key() -> None:
    ann, bob = KEYS.identity(ANN).owner, KEYS.identity(BOB).owner

    assert ann != bob
    assert ANN not in (ann, bob)
    assert Keys([BOB]).identity(BOB).owner == bob  # after a restart as well, and beside other keys
    assert KEYS.identity(f" {ANN} ").owner == ann


def test_without_keys_none_is_required_and_none_is_known() -> None:
    nobody = Keys([])

    assert not nobody.required
    assert KEYS.required
    refusal("", nobody)
    refusal("sk-ann", nobody)


@pytest.mark.parametrize(
    "credential",
    ["", " ", "sk-an", "sk-annn", "SK-ANN", "sk-ann sk-bob", "sk-ann\nsk-bob", "\0", "\udcff"],
)
def test_what_is_no_key_is_refused(credential: str) -> None:
    assert refusal(credential) == "Incorrect API key provided"


def test_a_key_may_look_like_a_token() -> None:
    keys = Keys(["a.b.c", "ключ"])

    assert keys.identity("a.b.c") == keys.key_identity("a.b.c")
    assert keys.identity("ключ").owner


def test_a_token_counts_as_the_key_that_it_was_made_with_until_its_time_is_over() -> None:
    before = int(time.time())
    token, expires_at = KEYS.mint(ANN_IDENTITY, 60)

    assert before + 60 <= expires_at <= int(time.time()) + 60
    assert KEYS.identity(token).owner == KEYS.token_identity(token).owner == OWNER
    assert KEYS.identity(KEYS.mint(BOB_IDENTITY, 60)[0]).owner == KEYS.identity(BOB).owner
    assert refusal(KEYS.mint(ANN_IDENTITY, 0)[0]) == "The token's time is over"
    assert refusal(KEYS.mint(ANN_IDENTITY, -60)[0]) == "The token's time is over"


def test_a_token_is_no_key_so_that_it_makes_no_other_token() -> None:
    token, _ = KEYS.mint(ANN_IDENTITY, 60)

    assert KEYS.key_identity(token) is None
    assert KEYS.key_identity(ANN) == ANN_IDENTITY


def test_a_token_does_not_hold_the_key() -> None:
    token, _ = KEYS.mint(ANN_IDENTITY, 60)
    parts = [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]

    assert json.loads(parts[1])["sub"] == OWNER
    assert not any(key.encode() in part for key in (ANN, BOB) for part in parts)


def test_a_token_outlives_a_restart_as_long_as_its_key_is_there() -> None:
    token, _ = KEYS.mint(ANN_IDENTITY, 60)

    for same in ([ANN, BOB], [ANN], ["sk-other", ANN]):
        assert Keys(same).identity(token).owner == OWNER
    for others in ([BOB], ["sk-other"], []):
        refusal(token, Keys(others))


def test_without_keys_a_token_is_of_one_run_only() -> None:
    first, second = Keys([]), Keys([])
    token, _ = first.mint(ANYONE, 60)

    refusal(token, second)


def test_the_usual_claims_are_what_is_taken() -> None:
    assert KEYS.identity(signed()).owner == OWNER  # what the tests below change


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": 0},
        {"exp": "never"},
        {"exp": 1e400},
        {"sub": None},
        {"sub": 5},
        {"aud": None},
        {"aud": "another"},
        {"aud": ""},
        {"nbf": 2**33},
    ],
    ids=json.dumps,
)
def test_a_token_with_other_claims_is_refused(changes: dict[str, Any]) -> None:
    refusal(signed(**changes))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS512", "RS256", None])
@pytest.mark.parametrize("signature", [b"", b"anything"])
def test_a_token_that_says_how_it_was_signed_is_not_believed(
    algorithm: str | None, signature: bytes
) -> None:
    header = {"alg": algorithm, "typ": "inferneo-token", "kid": OWNER}
    refusal(encoded(json.dumps(header).encode(), json.dumps(claims()).encode(), signature))


def test_a_token_signed_otherwise_or_by_another_is_refused() -> None:
    refusal(signed(algorithm="HS512"))
    for secret in (b"", ANN.encode(), f"{ANN}\n{BOB}".encode(), token_secret(BOB.encode())):
        refusal(signed(secret))


def test_a_token_of_which_anything_was_changed_is_refused() -> None:
    token, _ = KEYS.mint(ANN_IDENTITY, 60)
    head, body, signature = token.split(".")
    other, _ = KEYS.mint(BOB_IDENTITY, 61)

    refusal(f"{head}.{other.split('.')[1]}.{signature}")
    refusal(f"{head}.{body}.{other.split('.')[2]}")
    refusal(f"{head}.{body}.")
    refusal(f"{head}.{body}")
    refusal(f"{token}.")
    for at in range(len(body)):
        changed = "A" if body[at] != "A" else "B"
        refusal(f"{head}.{body[:at]}{changed}{body[at + 1 :]}.{signature}")


@settings(max_examples=300)
@given(st.text(max_size=40) | st.lists(st.text(max_size=20), min_size=3, max_size=3).map(".".join))
def test_text_of_any_kind_is_a_key_or_refused(credential: str) -> None:
    if credential.strip() not in (ANN, BOB):
        refusal(credential)
        with pytest.raises(AuthenticationFailed):
            KEYS.token_identity(credential)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=30), min_size=3, max_size=3))
def test_bytes_of_any_kind_in_the_form_of_a_token_are_refused(parts: list[bytes]) -> None:
    refusal(encoded(*parts))
    refusal(".".join(part.decode(errors="surrogateescape").replace(".", "") for part in parts))
