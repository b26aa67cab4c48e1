"""Signatures of this node: Ed25519, with a key in a file that the server alone may read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from pacs_server.errors import ConfigError
from pacs_server.whole_file import write_whole


class Signer:
    """Signs with one key. May be used from any thread."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    @classmethod
    def of(cls, path: Path) -> Self:
        """With the key in a file.

        Raises: ConfigError when it is missing, no such key, or readable by others.
        """
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise ConfigError(f"{path} may be read by other users of this machine: chmod 600 it")
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path} holds no key in PEM without a pass phrase: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"{path} holds a key of another kind than Ed25519")
        return cls(key)

    @classmethod
    def made(cls, path: Path) -> Self:
        """With the key in a file, which is made when it is not there. Raises: ConfigError."""
        if not path.exists():
            text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            try:
                write_whole(path, text, 0o600)
            except OSError as error:
                raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
        return cls.of(path)

    def sign(self, text: bytes) -> str:
        """The signature over a text, in hex."""
        return self._key.sign(text).hex()


def is_signed(public_key: str, text: bytes, signature: str) -> bool:
    """Whether the holder of a key has signed a text; key and signature in hex."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), text)
    except (ValueError, InvalidSignature):
        return False
    return True
