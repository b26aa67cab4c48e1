"""What a JSON Web Token proves: who is meant, by whom that was signed, until when.

Keys are files of this machine; nothing is fetched. The algorithm is that of the key, whatever the token says. Source:
RFC 7519, RFC 8725 (best current practices).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pacs_server.dicom.audit import MAX_PERSON_CHARACTERS, as_kept
from pacs_server.errors import ConfigError, NotProven

if TYPE_CHECKING:
    from jwt.types import Options

_MIN_RSA_BITS: Final = 2048
# Times are compared with the moment that the caller names, not with that of the library's clock.
_OPTIONS: Final[Options] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "require": ["exp", "iss", "aud"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTrust:
    """Which tokens are believed: those of an issuer, for an audience, signed with a key of these files. The person is
    in the claim `user_claim`, the AE titles at which they may log in are in `titles_claim`, where that has a name.
    """

    issuer: str
    audience: str
    key_files: Sequence[Path]
    user_claim: str
    titles_claim: str
    leeway_s: float


@dataclass(frozen=True, slots=True)
class _Key:
    key: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
    algorithm: str
    name: str = ""


def person_of(token: bytes, trust: TokenTrust, aet: str, now: datetime) -> str:
    """The person whom a token proves at a peer of this AE title. It has to say until when it is valid, and to name the
    person with no more characters than the audit trail keeps.

    Raises: NotProven with the reason; ConfigError when no key can be used.
    """
    if not (trust.issuer and trust.key_files):
        raise ConfigError("no token is believed: identity.jwt in pacs.yaml needs an issuer and key_files")
    keys = [key for file in trust.key_files for key in keys_in(file)]
    claims = _claims(token, keys, trust)
    _check_times(claims, trust.leeway_s, now)
    person = claims.get(trust.user_claim)
    if not isinstance(person, str) or not person.strip() or as_kept(person, len(person)) != person:
        raise NotProven(f"its claim {trust.user_claim} names nobody")
    if len(person) > MAX_PERSON_CHARACTERS:
        raise NotProven(
            f"its claim {trust.user_claim} has {len(person)} characters, and a person at most {MAX_PERSON_CHARACTERS}: "
            "have the issuer send a shorter one, or name another claim as identity.jwt.user_claim"
        )
    if trust.titles_claim:
        titles = claims.get(trust.titles_claim, [])
        if aet not in ([titles] if isinstance(titles, str) else titles if isinstance(titles, list) else []):
            raise NotProven(f"its claim {trust.titles_claim} does not have {aet} in it")
    return person


def _claims(token: bytes, keys: Sequence[_Key], trust: TokenTrust) -> dict[str, Any]:
    try:
        named = jwt.get_unverified_header(token).get("kid")
        fitting = [key for key in keys if key.name == named] if any(key.name == named for key in keys) else keys
        for key in fitting:
            try:
                return jwt.decode(
                    token,
                    key.key,
                    algorithms=[key.algorithm],
                    audience=trust.audience,
                    issuer=trust.issuer,
                    options=_OPTIONS,
                )
            except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                continue
    except (jwt.PyJWTError, ValueError) as error:
        raise NotProven(f"it is not one of ours: {error}") from error
    raise NotProven("it was signed with none of the keys of identity.jwt.key_files")


def _check_times(claims: dict[str, Any], leeway_s: float, now: datetime) -> None:
    ends, begins = claims["exp"], claims.get("nbf", 0)
    if isinstance(ends, bool) or not isinstance(ends, int | float) or not isinstance(begins, int | float):
        raise NotProven("its times are no numbers")
    moment = now.timestamp()
    if moment >= ends + leeway_s:
        raise NotProven(f"it ended {moment - ends:.0f} s ago")
    if moment < begins - leeway_s:
        raise NotProven(f"it begins in {begins - moment:.0f} s: are both clocks right?")


def keys_in(file: Path) -> list[_Key]:
    """The public keys in a file: one in PEM, or a JSON Web Key Set; of the latter, those that can be used.

    Raises: ConfigError when there is none.
    """
    try:
        text = file.read_bytes()
        keys = (
            list(_of_set(json.loads(text))) if text.lstrip().startswith(b"{") else [_usable(load_pem_public_key(text))]
        )
    except OSError as error:
        raise ConfigError(f"the key {file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{file} holds no public key, neither in PEM nor as a JSON Web Key Set: {error}") from error
    if not keys:
        raise ConfigError(f"{file} holds no key that is used: RSA from {_MIN_RSA_BITS} bits, P-256 or Ed25519")
    return keys


def _of_set(told: dict[str, Any]) -> Iterator[_Key]:
    for one in told["keys"]:
        if one.get("use", "sig") == "sig" and one.get("kty") in ("RSA", "EC", "OKP") and "d" not in one:
            try:
                key = _usable(jwt.PyJWK(one).key, str(one.get("kid", "")))
            except (jwt.PyJWTError, ValueError):
                continue  # for another purpose, or a kind to come
            yield key


def _usable(key: object, name: str = "") -> _Key:
    """A key with the one algorithm for which it is used. Raises: ValueError."""
    if isinstance(key, RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        return _Key(key, "RS256", name)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return _Key(key, "ES256", name)
    if isinstance(key, Ed25519PublicKey):
        return _Key(key, "EdDSA", name)
    raise ValueError(f"neither RSA from {_MIN_RSA_BITS} bits nor P-256 nor Ed25519")
