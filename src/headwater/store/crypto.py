"""Encryption of secrets at rest: AES-256-GCM with a key file that lies beside the database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Dialect, LargeBinary
from sqlalchemy.types import TypeDecorator

KEY_BYTES = 32
NONCE_BYTES = 12
"""96 bits, which NIST SP 800-38D section 5.2.1.1 recommends. Drawn at random: safe far beyond the number of our secrets."""

_VERSION = b"\x01"
"""First byte of every sealed value, so that the scheme can change without guessing."""


class SecretsError(Exception):
    """The key file cannot be used, or it is not the one with which the database was written."""


class Cipher:
    """Seals and opens secrets. `purpose` is authenticated too: a value moved to another column does not open."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, text: str, purpose: str) -> bytes:
        """The encrypted form of a text."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, text.encode(), purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> str:
        """The text again. Raises SecretsError if it was sealed with another key or changed since."""
        if sealed[:1] != _VERSION:
            raise SecretsError(f"{purpose}: unknown encryption version")
        nonce, text = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, text, purpose.encode()).decode()
        except (InvalidTag, ValueError) as error:  # ValueError: too short to hold a nonce
            raise SecretsError(f"{purpose}: cannot be decrypted; is this the key file of this database?") from error


def load_or_create_key(path: Path) -> bytes:
    """The key in a file; a new one, readable by its owner only, if there is no file. Raises SecretsError.

    Several processes may start at once: the file appears complete or not at all, and all of them read the same one.
    """
    try:
        if not path.exists():
            _create(path)
        key = bytes.fromhex(path.read_text("ascii"))
    except OSError as error:
        raise SecretsError(f"key file {path}: {error.strerror}") from error
    except ValueError as error:
        raise SecretsError(f"key file {path}: expected {2 * KEY_BYTES} hex digits") from error
    if len(key) != KEY_BYTES:
        raise SecretsError(f"key file {path}: expected {2 * KEY_BYTES} hex digits")
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was faster; its key counts
    finally:
        draft.unlink(missing_ok=True)


_ciphers: WeakKeyDictionary[Dialect, Cipher] = WeakKeyDictionary()


def bind(dialect: Dialect, cipher: Cipher) -> None:
    """Let every `Encrypted` column of this engine use this cipher. (An engine has a dialect of its own.)"""
    _ciphers[dialect] = cipher


class Encrypted(TypeDecorator[str]):
    """A text column that is encrypted in the database. `purpose` names it, such as `access_keys.secret`."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self.purpose = purpose

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Seal on the way in."""
        return None if value is None else _ciphers[dialect].seal(value, self.purpose)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        """Open on the way out."""
        return None if value is None else _ciphers[dialect].open(bytes(value), self.purpose)
