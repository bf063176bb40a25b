"""Proves that an issuer's tokens are checked by the issuer's keys alone, whatever they claim."""

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from inferneo_core.errors import AuthenticationFailed
from inferneo_server.access.identity import Identity, Limits
from inferneo_server.access.jwt import JwtCheck
from inferneo_server.access.keys import Keys
from inferneo_server.access.settings import JwtSettings
from inferneo_server.access.signing_keys import keys_of_json, read_keys

SECRET = "0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any) -> bytes:
    public: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three public keys, one of each kind."""
    path = tmp_path_factory.mktemp("keys") / "issuer.pem"
    path.write_bytes(pem(RSA) + pem(EC) + pem(ED))
    return path


@pytest.fixture(scope="module")
def check(file: Path) -> JwtCheck:
    """All four algorithms, and no more to be said than who and until when."""
    return checking(secret=SECRET, keys=file)


def checking(**values: Any) -> JwtCheck:
    return JwtCheck(JwtSettings.model_validate(values))


def claims(**changes: Any) -> dict[str, Any]:
    """Good ones, but for the changes; None leaves one out."""
    usual = {"sub": "ann", "exp": int(time.time()) + 60}
    return {name: value for name, value in (usual | changes).items() if value is not None}


def signed(
    key: Any, algorithm: str, headers: dict[str, Any] | None = None, **changes: Any
) -> bytes:
    return jwt.encode(claims(**changes), key, algorithm, headers=headers).encode()


def by_hand(header: Any, body: Any, secret: bytes | None) -> bytes:
    """A token that no library would write; without a secret it has no signature."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, body)
    ]
    text = b".".join(parts)
    signature = b"" if secret is None else hmac.digest(secret, text, "sha256")
    return text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


def refusal(check: JwtCheck, token: bytes) -> str:
    with pytest.raises(AuthenticationFailed) as caught:
        check.identity(token)
    return caught.value.message


GOOD = [(SECRET, "HS256"), (RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")]


@pytest.mark.parametrize(("key", "algorithm"), GOOD, ids=[name for _, name in GOOD])
def test_a_good_token_of_each_algorithm_tells_who_carries_it(
    check: JwtCheck, key: Any, algorithm: str
) -> None:
    identity = check.identity(signed(key, algorithm, name="Ann"))

    assert (identity.owner, identity.name) == ("jwt:ann", "Ann")
    assert identity.scopes == {"inference"}
    assert identity.models is None and identity.limits is None
    assert identity.expires_at is not None and identity.expires_at > time.time()


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, "HS256", "RS512"])
@pytest.mark.parametrize("secret", [None, b"", b"0"])
def test_a_token_that_nobody_signed_is_refused(
    check: JwtCheck, algorithm: str | None, secret: bytes | None
) -> None:
    refusal(check, by_hand({"alg": algorithm, "typ": "JWT"}, claims(), secret))


@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_public_key_is_no_secret(file: Path, secret: str | None) -> None:
    check = checking(keys=file, **({"secret": secret} if secret else {}))
    texts = [pem(RSA), pem(EC), pem(ED), pem(RSA).strip(), file.read_bytes()]
    texts += [RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)]
    for text in texts:
        refusal(check, by_hand({"alg": "HS256", "typ": "JWT"}, claims(), text))


def test_a_signature_of_one_kind_does_not_pass_for_another(check: JwtCheck) -> None:
    for key, algorithm in [(RSA, "RS384"), (RSA, "RS512"), (RSA, "PS256")]:
        assert "signed by one of" in refusal(check, signed(key, algorithm))
    for secret_algorithm in ("HS384", "HS512"):
        refusal(check, signed(SECRET * 2, secret_algorithm))
    # The header says one algorithm, the signature is another's.
    good = signed(ED, "EdDSA").split(b".")
    for algorithm in ("HS256", "RS256", "ES256"):
        head = by_hand({"alg": algorithm, "typ": "JWT"}, {}, None).split(b".")[0]
        refusal(check, b".".join([head, good[1], good[2]]))


def test_an_algorithm_that_is_not_wanted_is_refused(file: Path) -> None:
    check = checking(secret=SECRET, keys=file, algorithms=["ES256"])

    assert check.identity(signed(EC, "ES256")).owner == "jwt:ann"
    for key, algorithm in [(SECRET, "HS256"), (RSA, "RS256"), (ED, "EdDSA")]:
        assert refusal(check, signed(key, algorithm)) == "The token must be signed by one of: ES256"


def test_a_token_cannot_bring_its_own_key(check: JwtCheck) -> None:
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key()))
    certificate = base64.b64encode(pem(OTHER_RSA)).decode()
    for header in (
        {"jwk": jwk},
        {"jku": "https://attacker.example/keys"},
        {"x5u": "https://attacker.example/certificate"},
        {"x5c": [certificate]},
        {"jwk": jwk, "kid": "x", "x5t": "x"},
    ):
        refusal(check, signed(OTHER_RSA, "RS256", header))
        # They do no harm beside a good signature.
        assert check.identity(signed(RSA, "RS256", header)).owner == "jwt:ann"


@pytest.mark.parametrize(
    "kid", ["../../dev/null", "/dev/null", "' OR 1=1 --", "|id", "x" * 4000, "http://a/b", "\0", ""]
)
def test_the_name_of_a_key_is_a_name_and_nothing_else(tmp_path: Path, kid: str) -> None:
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key()))
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [{**jwk, "kid": "good"}]}))
    check = checking(keys=path)

    assert check.identity(signed(RSA, "RS256", {"kid": "good"})).owner == "jwt:ann"
    assert check.identity(signed(RSA, "RS256")).owner == "jwt:ann"
    refusal(check, signed(RSA, "RS256", {"kid": kid}))
    refusal(check, by_hand({"alg": "HS256", "kid": kid}, claims(), b""))


@pytest.mark.parametrize("kid", [5, None, ["good"], {"a": 1}])
def test_a_name_of_a_key_that_is_no_text_is_refused(check: JwtCheck, kid: Any) -> None:
    if kid is not None:
        refusal(check, by_hand({"alg": "HS256", "kid": kid}, claims(), SECRET.encode()))


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["unknown"], "unknown": True},
        {"crit": []},
        {"crit": "b64"},
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"], "b64": True},
        {"b64": False},
        {"crit": None},
    ],
    ids=json.dumps,
)
def test_extensions_that_must_be_understood_are_refused(
    check: JwtCheck, header: dict[str, Any]
) -> None:
    refusal(check, by_hand({"alg": "HS256", **header}, claims(), SECRET.encode()))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exp": None}, "The token has no 'exp'"),
        ({"exp": 0}, "The token's time is over"),
        ({"exp": int(time.time()) - 11}, "The token's time is over"),
        ({"exp": "never"}, "The token cannot be read"),
        ({"exp": str(2**33)}, "The token's 'exp' is no number"),
        ({"exp": 1e400}, None),
        ({"exp": [1]}, None),
        ({"exp": {}}, None),
        ({"nbf": 2**33}, "The token does not count yet"),
        ({"iat": 2**33}, "The token does not count yet"),
        ({"sub": None}, "The token's 'sub' does not tell who carries it"),
        ({"sub": 5}, None),
        ({"sub": ""}, None),
        ({"sub": " ann"}, None),
        ({"sub": "ann\nAUDIT who='root'"}, None),
        ({"sub": "x" * 129}, None),
        ({"sub": "änn"}, None),
        ({"aud": "somebody"}, "The token is for another audience"),
        ({"models": 5}, "The token's 'models' is no list of models"),
        ({"models": [5]}, "The token's 'models' is no list of models"),
        ({"limits": "nothing"}, "The token's 'limits' is no set of limits"),
        ({"limits": {"requests_per_minute": "x"}}, "The token's 'limits' is no set of limits"),
        ({"limits": [1]}, "The token's 'limits' is no set of limits"),
        ({"scope": 5}, "The token's 'scope' is no list"),
    ],
)
def test_claims_that_do_not_fit_are_refused(
    check: JwtCheck, changes: dict[str, Any], told: str | None
) -> None:
    body = json.loads(json.dumps(claims(**changes)))
    found = refusal(check, by_hand({"alg": "HS256"}, body, SECRET.encode()))
    assert told is None or found == told


def test_the_clocks_may_differ_by_the_leeway() -> None:
    late = signed(SECRET, "HS256", exp=int(time.time()) - 5)

    assert checking(secret=SECRET, leeway_seconds=30).identity(late)
    assert "over" in refusal(checking(secret=SECRET, leeway_seconds=0), late)


def test_issuer_audience_and_required_claims_are_asked_for() -> None:
    check = checking(
        secret=SECRET, issuer="https://issuer", audience="us", required_claims=["exp", "jti"]
    )
    good: dict[str, Any] = {"iss": "https://issuer", "aud": ["others", "us"], "jti": "1"}

    assert check.identity(signed(SECRET, "HS256", **good)).owner == "jwt:ann"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"iss": "https://issuer/"}, "The token is of another issuer"),
        ({"iss": None}, "The token has no 'iss'"),
        ({"aud": "usa"}, "The token is for another audience"),
        ({"aud": None}, "The token has no 'aud'"),
        ({"aud": ["u", "s"]}, "The token is for another audience"),
        ({"jti": None}, "The token has no 'jti'"),
        ({"exp": None}, "The token has no 'exp'"),
    ]
    for changes, told in wrong:
        assert refusal(check, signed(SECRET, "HS256", **(good | changes))) == told


def test_claims_tell_scopes_models_and_limits() -> None:
    check = checking(
        secret=SECRET,
        claims={"owner": "email", "scopes": "realm.roles", "models": "https://x/models"},
        scope_names={"llm-user": "inference", "llm-admin": "admin"},
    )

    def told(**changes: Any) -> Identity:
        return check.identity(signed(SECRET, "HS256", email="ann@example.org", **changes))

    assert told().owner == "jwt:ann@example.org"
    assert told(realm={"roles": ["llm-admin", "other", 5]}).scopes == {"admin"}
    assert told(realm={"roles": "llm-user llm-admin"}).scopes == {"inference", "admin"}
    assert told(realm={"roles": ["admin"]}).scopes == set()
    assert told(realm={"roles": []}).scopes == set()
    assert told(realm={}).scopes == {"inference"}
    assert told(**{"https://x/models": ["a", "b"]}).models == frozenset("ab")
    assert told(**{"https://x/models": "a b"}).models == frozenset("ab")
    assert told(limits={"requests_per_minute": 5}).limits == Limits(requests_per_minute=5)
    inferneo = told(limits="inferneo").limits
    assert inferneo is not None and inferneo.requests_per_minute == 60


def test_a_subject_cannot_pass_for_the_owner_of_a_key(check: JwtCheck) -> None:
    keys = Keys(["sk-ann"], issuer=check)
    owner = keys.identity("sk-ann").owner
    for subject in (owner, f"key_{owner}", "key_0123456789ab"):
        found = keys.identity(signed(SECRET, "HS256", sub=subject).decode())
        assert found.owner == f"jwt:{subject}"


def test_an_issuers_token_is_none_of_ours_nor_ours_one_of_the_issuers(check: JwtCheck) -> None:
    keys = Keys([SECRET], issuer=check)  # a key that is the issuer's secret too, at the worst
    ours, _ = keys.mint(keys.identity(SECRET), 60)

    assert keys.identity(ours).owner == keys.identity(SECRET).owner
    refusal(check, ours.encode())
    with pytest.raises(AuthenticationFailed):
        keys.token_identity(signed(SECRET, "HS256").decode())


def test_a_token_too_large_is_not_looked_at(check: JwtCheck) -> None:
    assert refusal(check, signed(SECRET, "HS256", more="x" * 16_384)) == "The token is too large"


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=30), min_size=3, max_size=3))
def test_bytes_of_any_kind_are_refused(parts: list[bytes]) -> None:
    check = checking(secret=SECRET)
    refusal(check, b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts))
    refusal(check, b".".join(part.replace(b".", b"") for part in parts))


@settings(max_examples=200)
@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=9), st.lists))
def test_a_header_of_any_kind_is_refused(value: Any) -> None:
    check = checking(secret=SECRET)
    for header in (value, {"alg": value}, {"alg": "HS256", "kid": value, "crit": value}):
        refusal(check, by_hand(header, claims(), b"x"))


def private_pem(key: Any) -> bytes:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no public key"),
        (b"words", "no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "cannot be read|can be read"),
        (private_pem(RSA), "private key"),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "2048 bits"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "only RSA, P-256 and Ed25519"),
        (pem(ed448.Ed448PrivateKey.generate()), "only RSA, P-256 and Ed25519"),
        (b"{", "no JSON"),
        (b'{"keys": []}', "no public key"),
        (b'{"keys": 5}', "must be a list"),
        (b'{"keys": [5, {"kty": "x"}, {"kty": "RSA"}]}', "no public key"),
        (b'{"kty": "RSA", "n": "AQAB", "e": "AQAB"}', "must be"),
        (b'{"kty": "oct", "k": "AAAA"}', "at least 32 bytes"),
        (b'{"kty": "RSA", "use": "enc"}', "another use"),
    ],
    ids=range(14),
)
def test_a_file_without_a_good_key_is_told(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=told):
        read_keys(path)


def test_a_set_from_elsewhere_holds_no_secrets_and_not_too_many_keys() -> None:
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode().rstrip("=")}
    data = json.dumps({"keys": [secret]}).encode()

    assert [key.algorithm for key in keys_of_json(data)] == ["HS256"]
    assert keys_of_json(data, secrets=False) == []
    with pytest.raises(ValueError, match="at most 64"):
        keys_of_json(json.dumps({"keys": [{}] * 65}).encode())


# With names of their own: a new key's text is another in each process.
@pytest.mark.parametrize(
    "secret",
    ["short", "x" * 31, pem(RSA).decode(), "ssh-rsa " + "A" * 40],
    ids=["short", "31 bytes", "public key", "ssh key"],
)
def test_what_is_no_secret_is_refused_as_one(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        checking(secret=secret)
