"""Tokens in a keyring: one without a desktop, that keeps files, and some that fail."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import pickle
import tempfile

import keyring
import keyring.backends.fail
import pytest
from cryptography.fernet import Fernet
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

from aritma_session import AritmaSession, FileStore, MemoryStore
from aritma_session.stores import open_store
from aritma_session.stores.contract import KEY, SharedStoreContract, StoreContract, token
from aritma_session.stores.keyring import KeyringStore
from aritma_session.stores.sealing import Sealing

from helpers import said


class Files(KeyringBackend):
    """A keyring of whole files, in the directory that a variable names, so that other processes have it too."""

    priority = 0.1

    def path(self, service, username):
        name = base64.urlsafe_b64encode(f"{service} {username}".encode()).decode()
        return os.path.join(os.environ["TEST_KEYRING"], name)

    def get_password(self, service, username):
        with contextlib.suppress(FileNotFoundError), open(self.path(service, username)) as file:
            return file.read()
        return None

    def set_password(self, service, username, password):
        with tempfile.NamedTemporaryFile("w", dir=os.environ["TEST_KEYRING"], delete=False) as file:
            file.write(password)
        os.replace(file.name, self.path(service, username))

    def delete_password(self, service, username):
        try:
            os.unlink(self.path(service, username))
        except FileNotFoundError:
            raise PasswordDeleteError("not there") from None


class Locked(KeyringBackend):
    """A keyring that its owner does not unlock."""

    priority = 0.1

    def refuse(self, *arguments):
        raise KeyringLocked("the keyring is locked")

    get_password = set_password = refuse

    def delete_password(self, service, username):
        raise PasswordDeleteError("the keyring is locked")


@pytest.fixture(autouse=True)
def backend(tmp_path, monkeypatch):
    """The keyring of this test, also for processes that it starts."""
    before = keyring.get_keyring()
    (tmp_path / "keyring").mkdir()
    monkeypatch.setenv("TEST_KEYRING", str(tmp_path / "keyring"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", f"{__name__}.Files")
    keyring.set_keyring(Files())
    yield
    keyring.set_keyring(before)


class TestKeyring(SharedStoreContract):
    @pytest.fixture
    def store(self):
        return KeyringStore()


class TestSealedKeyring(StoreContract):
    @pytest.fixture
    def store(self):
        return KeyringStore(sealing=Sealing(Fernet.generate_key().decode()))


def test_is_made_of_a_setting_with_its_locks_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    store = open_store("keyring:")
    assert store == KeyringStore(locks=FileStore.below(tmp_path / "xdg"))
    assert store == pickle.loads(pickle.dumps(store))
    assert len({store, open_store("keyring:"), KeyringStore("another"), KeyringStore(locks=MemoryStore())}) == 3
    assert store != store.locks
    with store.lock(KEY):
        store.save(KEY, token("t"))
    assert os.listdir(store.locks.directory) == [f"{KEY}.lock"]
    assert os.stat(os.path.join(store.locks.directory, f"{KEY}.lock")).st_size == 0


@pytest.mark.parametrize("content", ["", "{", "null", "[" * 100_000])
def test_what_cannot_be_understood_is_a_miss_and_is_overwritten(content):
    store, saved = KeyringStore(), token("t")
    keyring.set_password("aritma-session", KEY, content)
    assert store.load(KEY) is None
    store.save(KEY, saved)
    assert store.load(KEY) == saved


def test_a_token_that_cannot_be_removed_is_an_error():
    keyring.set_keyring(Locked())
    with pytest.raises(KeyringLocked):
        KeyringStore().remove(KEY)

    class Stubborn(Files):
        def delete_password(self, service, username):
            raise PasswordDeleteError("no")

    keyring.set_keyring(Stubborn())
    store = KeyringStore()
    store.save(KEY, token("t"))
    with pytest.raises(PasswordDeleteError):
        store.remove(KEY)


def test_processes_share_a_token(environ, sandbox, echo, monkeypatch):
    monkeypatch.setenv("ARITMA_CACHE", "keyring:")
    for _ in range(3):
        with AritmaSession() as session:
            assert session.get(echo).status_code == 200
    assert sandbox.counts.token_requests == 1


@pytest.mark.parametrize("failing", [Locked, keyring.backends.fail.Keyring])
def test_a_keyring_that_cannot_be_used_costs_a_warning_and_no_call(
    environ, sandbox, echo, monkeypatch, caplog, failing
):
    keyring.set_keyring(failing())
    monkeypatch.setenv("ARITMA_CACHE", "keyring:")
    caplog.set_level(logging.INFO)
    with AritmaSession() as session:
        for _ in range(3):
            assert session.get(echo).status_code == 200
    assert sandbox.counts.token_requests == 1
    assert ["WARNING" in level for level, _ in said(caplog)].count(True) == 1
