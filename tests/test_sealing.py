"""What is sealed can be read with one of the keys, in its own place, and not at all else."""

from __future__ import annotations

import copy
import os
import pickle

import pytest
from cryptography.fernet import Fernet

from aritma_session import FileStore
from aritma_session.stores import records
from aritma_session.stores.contract import KEY, token
from aritma_session.stores.sealing import Sealing

from helpers import said

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def test_the_first_key_seals_and_all_open():
    saved = token("t")
    sealed = records.dump(KEY, saved, Sealing(OLD))
    for keys in (OLD, f"{OLD},{NEW}", f"{NEW},{OLD}"):
        assert records.load(KEY, sealed, Sealing(keys)) == saved
    assert records.load(KEY, sealed, Sealing(NEW)) is None
    assert records.load(KEY, records.dump(KEY, saved, Sealing(f"{NEW} {OLD}")), Sealing(NEW)) == saved


def test_what_was_changed_cut_or_moved_is_a_miss():
    sealing = Sealing(NEW)
    sealed = records.dump(KEY, token("t"), sealing)
    assert records.load("other", sealed, sealing) is None
    for place in range(0, len(sealed) - 2, 7):
        changed = bytearray(sealed)
        changed[place] ^= 1
        assert records.load(KEY, bytes(changed), sealing) is None
        assert records.load(KEY, sealed[:place], sealing) is None
    for other in (None, "", 7, [], b"\xff", "\xe6", b"{}"):
        assert records.load(KEY, other, sealing) is None


def test_a_record_without_a_seal_is_a_miss_and_so_is_one_with():
    saved = token("t")
    assert records.load(KEY, records.dump(KEY, saved), Sealing(NEW)) is None
    assert records.load(KEY, records.dump(KEY, saved, Sealing(NEW))) is None


def test_a_sealed_file_shows_no_token(cache):
    files = FileStore(cache, sealing=Sealing(NEW))
    files.save(KEY, token("never-show-this", refresh_token="nor-this"))
    with open(os.path.join(files.directory, f"{KEY}.json"), "rb") as file:
        assert b"this" not in file.read()
    assert FileStore(cache).load(KEY) is None


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda sealing: pickle.loads(pickle.dumps(sealing))])
def test_a_copy_opens_what_the_original_sealed(again):
    sealing = Sealing(NEW)
    twin = again(sealing)
    assert twin == sealing
    assert hash(twin) == hash(sealing)
    assert twin.open(sealing.seal(b"record")) == b"record"
    assert NEW not in repr(twin)


def test_what_the_key_does_not_open_is_told(caplog, cache):
    caplog.set_level("INFO")
    FileStore(cache, sealing=Sealing(OLD)).save(KEY, token("t"))
    assert FileStore(cache, sealing=Sealing(NEW)).load(KEY) is None
    assert said(caplog) == [
        ("INFO", "the cache has a token that the key of the cache (ARITMA_CACHE_KEY) does not open")
    ]
