"""Proves what the file of keys keeps, and that a server follows what other processes change."""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inferneo_core.errors import AuthenticationFailed, ModelNotAllowed, PermissionDenied
from inferneo_server.access.identity import Identity, Limits
from inferneo_server.access.key_store import KeyStore, KeyStoreError
from inferneo_server.access.keys import Keys
from inferneo_server.access.stored_keys import PAUSE_SECONDS, StoredKeys

ALL: Any = {"scopes": ["inference", "admin"]}
ONE: Any = {"scopes": ["inference"]}


def rights(identity: Identity) -> tuple[set[str], set[str] | None]:
    """The scopes and the models of somebody."""
    models = identity.models
    return set(identity.scopes), None if models is None else set(models)


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += PAUSE_SECONDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the keys are to be, in a folder that is not there."""
    return tmp_path / "state" / "keys.db"


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    """What a command does with the file."""
    store = KeyStore(path)
    yield store
    store.close()


class Server:
    """The keys as a server has them, by another connection than the commands."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.keys = Keys(stored=StoredKeys(path, clock=self.clock), state_dir=path.parent)

    def refusal(self, credential: str) -> str:
        with pytest.raises(AuthenticationFailed) as caught:
            self.keys.identity(credential)
        return caught.value.message


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    """A server, which is there before the file is."""
    server = Server(path)
    yield server
    server.keys.close()


def test_the_file_and_its_folder_are_for_their_owner_alone(store: KeyStore, path: Path) -> None:
    store.create("ann", **ONE)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_the_file_holds_no_secret(store: KeyStore, path: Path) -> None:
    secret, _ = store.create("ann", **ONE)
    again, _ = store.rotate("ann", grace_seconds=60)
    store.close()
    data = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert secret.startswith("sk-inf-") and len(secret) > 60
    for each in (secret, again):
        assert each.encode() not in data and each[20:].encode() not in data
    KeyStore(path).close()


def test_a_key_is_what_it_was_made_with(store: KeyStore) -> None:
    limits = Limits(requests_per_minute=5)
    _, record = store.create(
        "ann", scopes=["admin"], models=["m"], limits=limits, weight=2.5, expires_at=5e9
    )

    assert store.find("ann") == store.find(record.id) == record
    assert (record.scopes, record.models, record.limits) == (["admin"], ["m"], limits)
    assert (record.weight, record.expires_at, record.revoked_at) == (2.5, 5e9, None)
    assert store.records() == [record]


def test_two_keys_that_count_have_two_names(store: KeyStore) -> None:
    _, first = store.create("ann", **ONE)
    with pytest.raises(KeyStoreError, match="already"):
        store.create("ann", **ONE)
    with pytest.raises(KeyStoreError, match="already"):
        store.create(first.id, **ONE)
    store.revoke("ann")
    _, second = store.create("ann", **ONE)

    assert store.find("ann") == second
    assert [record.id for record in store.records()] == [first.id, second.id]


@pytest.mark.parametrize("act", ["revoke", "rotate"])
def test_a_key_that_was_revoked_stays_so(store: KeyStore, act: str) -> None:
    store.create("ann", **ONE)
    store.revoke("ann")
    with pytest.raises(KeyStoreError, match="is revoked"):
        getattr(store, act)("ann")


def test_what_is_no_file_of_keys_is_told(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("words, and no database, for more than a page\n" * 200)
    other = sqlite3.connect(tmp_path / "other")
    other.execute("PRAGMA user_version = 99")
    other.close()

    for name, told in [("words", "not a database"), ("other", "another version")]:
        with pytest.raises(KeyStoreError, match=told):
            KeyStore(tmp_path / name)
    with pytest.raises(KeyStoreError, match="cannot be used"):
        KeyStore(tmp_path / "words" / "keys.db")


def test_a_server_follows_what_commands_do_after_the_pause(server: Server, path: Path) -> None:
    assert not server.keys.required
    store = KeyStore(path)
    secret, record = store.create("ann", models=["m"], **ONE)
    assert not server.keys.required  # it has just looked

    server.clock.tick()
    assert server.keys.required
    identity = server.keys.identity(secret)
    assert (identity.owner, identity.name) == (f"key_{record.id}", "ann")
    assert rights(identity) == ({"inference"}, {"m"})

    limits = Limits(tokens_per_day=7)
    store.update("ann", scopes=["admin"], models=None, limits=limits, weight=3.0, expires_at=None)
    server.clock.tick()
    changed = server.keys.identity(secret)
    assert (changed.owner, changed.scopes) == (identity.owner, {"admin"})
    assert (changed.models, changed.limits, changed.weight) == (None, limits, 3.0)

    store.revoke("ann")
    assert server.keys.identity(secret) == changed  # for the rest of the pause
    server.clock.tick()
    assert server.refusal(secret) == "The API key has been revoked"
    assert server.keys.required  # nobody opens a server by revoking its last key
    store.close()


def test_a_rotated_key_keeps_its_owner_and_loses_its_secret(server: Server, path: Path) -> None:
    store = KeyStore(path)
    first, record = store.create("ann", **ONE)
    second, _ = store.rotate("ann")
    server.clock.tick()

    assert server.keys.identity(second).owner == f"key_{record.id}"
    assert server.refusal(first) == "Incorrect API key provided"
    third, _ = store.rotate("ann", grace_seconds=60)
    fourth = store.rotate("ann", grace_seconds=0.01)[0]
    time.sleep(0.02)
    server.clock.tick()
    assert server.keys.identity(fourth)
    for old in (first, second, third):
        server.refusal(old)
    fifth, _ = store.rotate("ann", grace_seconds=60)
    server.clock.tick()
    assert server.keys.identity(fourth) == server.keys.identity(fifth)
    store.close()


def test_a_key_ends_by_itself(server: Server, path: Path) -> None:
    store = KeyStore(path)
    secret, _ = store.create("ann", expires_at=time.time() - 1, **ONE)
    lasting, _ = store.create("bob", expires_at=time.time() + 60, **ONE)
    store.close()
    server.clock.tick()

    assert server.refusal(secret) == "The API key has expired"
    assert server.keys.identity(lasting)


def test_what_only_looks_like_a_key_is_refused(server: Server, path: Path) -> None:
    store = KeyStore(path)
    secret, record = store.create("ann", **ONE)
    other, _ = store.create("bob", **ONE)
    store.close()
    server.clock.tick()

    wrong = [secret[:-1], secret + "x", secret[:-1] + "!", secret.upper(), record.id]
    wrong += [f"sk-inf-{record.id}-", f"sk-inf-{record.id}", f"key_{record.id}", secret[7:]]
    wrong += [secret[:20] + other[20:], "sk-inf-", "sk-inf--", "sk-inf-000000000000-x"]
    for credential in wrong:
        assert server.refusal(credential) == "Incorrect API key provided"


def test_a_file_that_goes_or_breaks_opens_nothing(server: Server, path: Path) -> None:
    store = KeyStore(path)
    secret, _ = store.create("ann", **ONE)
    store.close()
    server.clock.tick()
    assert server.keys.identity(secret)

    path.rename(path.with_suffix(".away"))
    server.clock.tick()
    assert server.keys.required and server.keys.identity(secret)
    path.write_bytes(b"no database" * 1000)
    server.clock.tick()
    assert server.keys.required and server.keys.identity(secret)
    # Another file takes the place of the one before, even if it is empty.
    path.unlink()
    KeyStore(path).close()
    server.clock.tick()
    assert server.keys.required
    server.refusal(secret)


def test_the_last_use_is_written_once_in_an_hour(server: Server, path: Path) -> None:
    store = KeyStore(path)
    secret, _ = store.create("ann", **ONE)
    assert store.find("ann").last_used_at is None
    server.clock.tick()
    server.keys.identity(secret)
    server.clock.tick()
    server.keys.identity(secret)
    used = store.find("ann").last_used_at

    assert used is not None and abs(used - time.time()) < 60
    for _ in range(3):
        server.clock.tick()
        server.keys.identity(secret)
    assert store.find("ann").last_used_at == used
    store.close()


def test_a_writer_elsewhere_holds_up_no_request(server: Server, path: Path) -> None:
    store = KeyStore(path)
    secret, _ = store.create("ann", **ONE)
    server.clock.tick()
    assert server.keys.identity(secret)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    server.clock.tick()
    began = time.perf_counter()
    assert server.keys.identity(secret)
    assert time.perf_counter() - began < 0.1
    other.execute("ROLLBACK")
    other.close()
    store.close()


def test_a_token_is_never_wider_than_its_key_and_ends_with_it(server: Server, path: Path) -> None:
    store = KeyStore(path)
    secret, record = store.create("ann", models=["a", "b"], **ALL)
    server.clock.tick()
    keys = server.keys
    ann = keys.identity(secret)

    plain = keys.identity(keys.mint(ann, 60)[0])
    assert (plain.owner, *rights(plain)) == (ann.owner, {"inference"}, {"a", "b"})
    narrow, _ = keys.mint(ann, 60, scopes=["admin"], models=["a"])
    assert rights(keys.identity(narrow)) == ({"admin"}, {"a"})
    with pytest.raises(ModelNotAllowed):
        keys.mint(ann, 60, models=["a", "c"])

    others: Any = {"limits": Limits(), "weight": 1.0, "expires_at": None}
    store.update("ann", scopes=["inference"], models=["b", "c"], **others)
    server.clock.tick()
    assert rights(keys.identity(narrow)) == (set(), set())
    with pytest.raises(PermissionDenied):
        keys.mint(keys.identity(secret), 60, scopes=["admin"])

    before, _ = keys.mint(keys.identity(secret), 60)
    again = Server(path)  # after a restart
    assert again.keys.identity(before).owner == ann.owner
    store.rotate("ann", grace_seconds=60)
    again.clock.tick()
    assert again.keys.identity(before).owner == ann.owner
    store.rotate("ann")
    again.clock.tick()
    again.refusal(before)
    fresh, _ = again.keys.mint(ann, 60)
    store.revoke("ann")
    again.clock.tick()
    assert again.refusal(fresh) == "The API key has been revoked"
    again.keys.close()
    store.close()


def test_who_stays_in_is_looked_at_again(server: Server, path: Path) -> None:
    store = KeyStore(path)
    secret, _ = store.create("ann", **ALL)
    server.clock.tick()
    keys = server.keys
    token = keys.identity(keys.mint(keys.identity(secret), 60)[0])
    assert keys.renewed(token) == token

    store.update(
        "ann", scopes=["inference"], models=["m"], limits=None, weight=1.0, expires_at=None
    )
    server.clock.tick()
    renewed = keys.renewed(keys.identity(secret))
    assert rights(renewed) == ({"inference"}, {"m"})
    store.revoke("ann")
    server.clock.tick()
    for identity in (token, renewed):
        with pytest.raises(AuthenticationFailed, match="revoked"):
            keys.renewed(identity)
    store.close()


def test_a_copy_of_the_file_makes_no_tokens(server: Server, path: Path, tmp_path: Path) -> None:
    store = KeyStore(path)
    secret, _ = store.create("ann", **ONE)
    store.close()
    server.clock.tick()
    server.keys.mint(server.keys.identity(secret), 60)
    copy = tmp_path / "copy" / "keys.db"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    thief = Server(copy)
    forged, _ = thief.keys.mint(thief.keys.identity(secret), 60)
    thief.keys.close()

    server.refusal(forged)
    assert stat.S_IMODE(os.stat(path.parent / "tokens.secret").st_mode) == 0o600
