"""JSON Web Tokens: what each proves, and every way in which one proves nothing."""

import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.tokens import ISSUER, claims, key_set, pem, signed

from pacs_server.errors import ConfigError, NotProven
from pacs_server.net.tokens import TokenTrust, person_of

NOW = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)  # long ago: the clock of this machine must not matter
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Made when a test asks: that takes long, and every process of a run of all tests imports this file."""
    return rsa.generate_private_key(65537, 2048)


KEYS = {"rsa": rsa_key, "ec": lambda: EC, "ed": lambda: ED}


def trust(*files: Path, titles_claim: str = "", user_claim: str = "sub", issuer: str = ISSUER) -> TokenTrust:
    return TokenTrust(
        issuer=issuer, audience="PACS", key_files=files, user_claim=user_claim, titles_claim=titles_claim, leeway_s=30
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return key_set({name: key() for name, key in KEYS.items()}, tmp_path_factory.mktemp("keys") / "jwks.json")


@pytest.mark.parametrize("kid", ["named", None])
@pytest.mark.parametrize("name", KEYS)
def test_a_token_of_each_algorithm_proves_a_person(file: Path, tmp_path: Path, name: str, kid) -> None:
    key = KEYS[name]()
    token = signed(key, claims(NOW), kid=name if kid else None)
    assert person_of(token, trust(file), "VIEWER", NOW) == "tanaka"
    assert person_of(token, trust(pem(key, tmp_path / "key.pem")), "VIEWER", NOW) == "tanaka"


def refused(token: bytes, trusted: TokenTrust, now: datetime = NOW) -> str:
    with pytest.raises(NotProven) as raised:
        person_of(token, trusted, "VIEWER", now)
    return str(raised.value)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"aud": "OTHER"}, "[Aa]udience"),
        ({"aud": None}, "aud"),
        ({"iss": "https://elsewhere.example"}, "[Ii]ssuer"),
        ({"iss": None}, "iss"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "."),
        ({"exp": True}, "times"),
        ({"nbf": int(NOW.timestamp()) + 3_600}, "begins in 3600 s"),
        ({"sub": None}, "names nobody"),
        ({"sub": " "}, "names nobody"),
        ({"sub": "a\nb"}, "names nobody"),
        ({"sub": "t" * 256}, "its claim sub has 256 characters, .* identity.jwt.user_claim"),
    ],
)
def test_a_token_with_a_wrong_claim_proves_nothing(file: Path, changed, why: str) -> None:
    assert re.search(why, refused(signed(rsa_key(), claims(NOW, **changed)), trust(file)))


def test_a_token_is_good_until_it_ends_and_a_little_longer(file: Path) -> None:
    token = signed(EC, claims(NOW))
    assert person_of(token, trust(file), "VIEWER", NOW + timedelta(minutes=5, seconds=29)) == "tanaka"
    assert "it ended 31 s ago" in refused(token, trust(file), NOW + timedelta(minutes=5, seconds=31))


def encoded(part: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


def test_the_algorithm_is_that_of_the_key_whatever_the_token_says(file: Path, tmp_path: Path) -> None:
    """No signature at all; and the public key, which everybody has, taken for a secret."""
    unsigned = encoded({"alg": "none", "typ": "JWT"}) + b"." + encoded(claims(NOW)) + b"."
    refused(unsigned, trust(file))
    public = pem(rsa_key(), tmp_path / "rsa.pem")
    told = encoded({"alg": "HS256", "typ": "JWT"}) + b"." + encoded(claims(NOW))
    mac = hmac.new(public.read_bytes(), told, hashlib.sha256).digest()
    forged = told + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")
    refused(forged, trust(public))
    refused(jwt.encode(claims(NOW), rsa_key(), algorithm="RS512").encode(), trust(file))


def test_a_token_of_another_key_is_refused_also_under_the_name_of_one_of_ours(file: Path) -> None:
    stranger = rsa.generate_private_key(65537, 2048)
    assert "none of the keys" in refused(signed(stranger, claims(NOW), kid="rsa"), trust(file))
    good = signed(rsa_key(), claims(NOW))
    head, _, mark = good.split(b".")
    refused(b".".join((head, encoded(claims(NOW, sub="suzuki")), mark)), trust(file))


@pytest.mark.parametrize("rubbish", [b"", b".", b"..", b"\xff\xfe", b"a" * 16_000, b"e30.e30.e30", b"[]", b"e30" * 99])
def test_what_is_no_token_proves_nothing(file: Path, rubbish: bytes) -> None:
    refused(rubbish, trust(file))


@pytest.mark.parametrize(
    ("titles", "is_let_in"), [(["VIEWER", "X"], True), ("VIEWER", True), (["X"], False), (7, False)]
)
def test_a_claim_can_say_at_which_titles_the_person_may_log_in(file: Path, titles, is_let_in: bool) -> None:
    token = signed(ED, claims(NOW, aet=titles))
    if is_let_in:
        assert person_of(token, trust(file, titles_claim="aet"), "VIEWER", NOW) == "tanaka"
    else:
        assert "VIEWER" in refused(token, trust(file, titles_claim="aet"))
    assert "VIEWER" in refused(signed(ED, claims(NOW)), trust(file, titles_claim="aet"))


@pytest.mark.parametrize(("claim", "person"), [("email", "tanaka@hospital.example"), ("name", "田中\u3000一郎")])
def test_another_claim_can_name_the_person(file: Path, claim: str, person: str) -> None:
    token = signed(ED, claims(NOW, **{claim: person}))
    assert person_of(token, trust(file, user_claim=claim), "VIEWER", NOW) == person


def test_keys_that_must_not_be_used_are_refused_by_name(tmp_path: Path) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    weak = key_set({"weak": rsa.generate_private_key(65537, 1024)}, tmp_path / "weak.json")
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}))
    curve = pem(ec.generate_private_key(ec.SECP384R1()), tmp_path / "p384.pem")
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"keys": ["issuer"]}))
    for file in (private, weak, secret, curve, names, tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match=file.name):
            person_of(signed(rsa_key(), claims(NOW)), trust(file), "VIEWER", NOW)
    for nobody in (trust(), trust(pem(rsa_key(), tmp_path / "rsa.pem"), issuer="")):
        with pytest.raises(ConfigError, match=r"identity\.jwt"):
            person_of(signed(rsa_key(), claims(NOW)), nobody, "VIEWER", NOW)
