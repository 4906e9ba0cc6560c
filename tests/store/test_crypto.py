"""Promises about secrets at rest."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.store.crypto import Cipher, SecretsError, load_or_create_key

CIPHER = Cipher(bytes(32))


@given(st.text())
def test_what_is_sealed_opens_again(text: str) -> None:
    assert CIPHER.open(CIPHER.seal(text, "a"), "a") == text


def test_equal_secrets_look_different() -> None:
    assert CIPHER.seal("x", "a") != CIPHER.seal("x", "a")


def test_a_secret_opens_only_for_its_purpose_and_with_its_key() -> None:
    sealed = CIPHER.seal("x", "a")
    with pytest.raises(SecretsError):
        CIPHER.open(sealed, "b")
    with pytest.raises(SecretsError):
        Cipher(bytes(31) + b"\1").open(sealed, "a")


@given(st.data())
def test_a_changed_or_cut_secret_does_not_open(data: st.DataObject) -> None:
    sealed = CIPHER.seal("secret", "a")
    at = data.draw(st.integers(0, len(sealed) - 1))
    flip = data.draw(st.integers(1, 255))
    for damaged in (sealed[:at], sealed[:at] + bytes([sealed[at] ^ flip]) + sealed[at + 1 :]):
        with pytest.raises(SecretsError):
            CIPHER.open(damaged, "a")


def test_the_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret.key"
    key = load_or_create_key(path)
    assert load_or_create_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


async def test_all_who_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    keys = await asyncio.gather(*(asyncio.to_thread(load_or_create_key, tmp_path / "secret.key") for _ in range(16)))
    assert len(set(keys)) == 1


@pytest.mark.parametrize("content", ["", "zz", "00" * 31, "00" * 33, "é"])
def test_a_damaged_key_file_is_reported_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret.key"
    path.write_text(content)
    with pytest.raises(SecretsError, match="hex digits"):
        load_or_create_key(path)
    assert path.read_text() == content


def test_a_key_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="Is a directory"):
        load_or_create_key(tmp_path)
