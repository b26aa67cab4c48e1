"""Tokens of an issuer that a test makes itself, and the files with its public keys."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://idp.hospital.example"
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def claims(now: datetime, **changed: Any) -> dict[str, Any]:
    """Those of a token for tanaka that is good for five minutes; None takes one away."""
    usual = {"iss": ISSUER, "aud": "PACS", "sub": "tanaka", "exp": int((now + timedelta(minutes=5)).timestamp())}
    return {name: value for name, value in (usual | changed).items() if value is not None}


def signed(key: Private, told: dict[str, Any], *, kid: str | None = None) -> bytes:
    """A token with these claims."""
    kinds = {rsa.RSAPrivateKey: "RS256", ec.EllipticCurvePrivateKey: "ES256", ed25519.Ed25519PrivateKey: "EdDSA"}
    algorithm = next(name for kind, name in kinds.items() if isinstance(key, kind))
    return jwt.encode(told, key, algorithm=algorithm, headers={"kid": kid} if kid else None).encode()


def pem(key: Private, file: Path) -> Path:
    """A file with its public key in PEM."""
    file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return file


def key_set(keys: dict[str, Private], file: Path) -> Path:
    """A JSON Web Key Set with their public keys."""
    kinds: dict[type, Any] = {
        rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm,
        ed25519.Ed25519PrivateKey: OKPAlgorithm,
    }  # fmt: skip
    told = []
    for kid, key in keys.items():
        algorithm = next(made for kind, made in kinds.items() if isinstance(key, kind))
        told.append(algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid})
    file.write_text(json.dumps({"keys": told}))
    return file
