"""Every store keeps one contract; the file store keeps secrets besides."""

from __future__ import annotations

import copy
import errno
import gc
import json
import logging
import os
import pathlib
import pickle
import socket
import stat
import sys
import tempfile
import threading
import time
import typing

import pytest
import redis
from cryptography.fernet import Fernet

from aritma_session import FileStore, MemoryStore, Token
from aritma_session.stores import file as file_module
from aritma_session.stores import open_store
from aritma_session.stores.contract import SharedStoreContract, StoreContract
from aritma_session.stores.forgiving import ForgivingStore
from aritma_session.stores.redis import RedisStore
from aritma_session.stores.sealing import Sealing

from helpers import in_child, results, said, wait_for

KEY = "0123456789abcdef"
TOKEN = Token("first.to-ken", 1000.0, 4600.5, "bankservice", on_probation=True, refresh_token="re fresh")
OTHER = Token("second", 2000.0, 5600.0)

needs_root = pytest.mark.skipif(getattr(os, "geteuid", int)() != 0, reason="only root can give files away")
posix = pytest.mark.skipif(os.name != "posix", reason="files have owners and modes on POSIX only")


@pytest.fixture
def files(cache):
    return FileStore(cache)


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestFile(SharedStoreContract):
    @pytest.fixture
    def store(self, cache):
        return FileStore(cache)


class TestSealedFile(StoreContract):
    @pytest.fixture
    def store(self, cache):
        return FileStore(cache, sealing=Sealing(Fernet.generate_key().decode()))


def test_what_cannot_be_removed_is_told_once_and_not_raised(cache, caplog):
    store = ForgivingStore(FileStore(cache), KEY)
    assert store.save(TOKEN)
    assert store.remove()
    assert store.load() is None
    os.chmod(cache, 0o755)
    assert [store.remove(), store.remove()] == [False, False]
    assert store.troubled
    ((_, message),) = [record for record in said(caplog) if record[0] == "WARNING"]
    assert message.startswith(f"FileStore could not be cleared: PermissionError: {cache} is open to other accounts")
    os.chmod(cache, 0o700)
    assert store.remove()
    assert not store.troubled


def test_a_store_that_cannot_be_sealed_is_refused_where_somebody_relies_on_a_key(cache):
    sealing = Sealing(Fernet.generate_key().decode())
    for store in MemoryStore(), FileStore(cache, sealing=sealing), FileStore(cache, sealing=sealing):
        assert open_store(store, sealing) is store
    for cache_setting in ("memory", "file", cache):
        assert open_store(cache_setting, sealing)
    with pytest.raises(ValueError, match=r"FileStore was made without the cache_encryption_key \(ARITMA_CACHE_KEY\)"):
        open_store(FileStore(cache), sealing)

    class Another:
        load = save = remove = lock = fail

    assert isinstance(open_store(Another()), Another)
    with pytest.raises(ValueError, match=r"^Another was made without the cache_encryption_key"):
        open_store(Another(), sealing)


def test_a_deep_copy_of_a_memory_store_is_shared():
    store = MemoryStore()
    twin = copy.deepcopy(store)
    twin.save(KEY, TOKEN)
    assert store.load(KEY) == TOKEN


@pytest.mark.parametrize("make", [lambda directory: MemoryStore(), FileStore])
def test_documents_are_kept_beside_the_tokens(make, cache):
    store = make(cache)
    assert store.load_document(KEY) is None
    store.save_document(KEY, b"document")
    store.save(KEY, TOKEN)
    for each in (store, pickle.loads(pickle.dumps(store))):
        assert each.load_document(KEY) == b"document"
        assert each.load_document(KEY[::-1]) is None
        assert each.load(KEY) == TOKEN
    store.remove(KEY)
    assert store.load_document(KEY) == b"document"


class TestFiles:
    def test_another_process_finds_the_token(self, files, start):
        files.save(KEY, TOKEN)
        code = """if True:
            import json, sys
            from aritma_session import FileStore
            print(json.dumps(FileStore(sys.argv[1]).load(sys.argv[2]).to_record()))
        """
        assert results([start(code, files.directory, KEY)]) == [TOKEN.to_record()]

    HOLDER = """if True:
        import sys
        from aritma_session import FileStore
        with FileStore(sys.argv[1]).lock(sys.argv[2]) as held:
            print(held, flush=True)
            sys.stdin.readline()
    """

    def test_the_lock_holds_between_processes(self, files, start):
        holder = start(self.HOLDER, files.directory, KEY)
        assert holder.stdout.readline() == "True\n"
        with files.lock(KEY) as held:
            assert not held
        holder.communicate("go\n")
        with files.lock(KEY) as held:
            assert held

    def test_a_killed_holder_lets_go(self, files, start):
        holder = start(self.HOLDER, files.directory, KEY)
        assert holder.stdout.readline() == "True\n"
        holder.kill()
        holder.wait()

        def free():
            with files.lock(KEY) as held:
                return held

        assert wait_for(free)

    def test_the_lock_file_stays_what_it_is(self, files):
        inodes = []
        for _ in range(2):
            with files.lock(KEY):
                inodes.append(os.stat(os.path.join(files.directory, f"{KEY}.lock")).st_ino)
        assert len(set(inodes)) == 1
        assert os.listdir(files.directory) == [f"{KEY}.lock"]

    @posix
    @pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
    def test_a_file_system_without_locks_is_an_error_and_no_lock(self, files, monkeypatch, number):
        def flock(descriptor, operation):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr("fcntl.flock", flock)
            with pytest.raises((OSError, NotImplementedError)) as caught, files.lock(KEY):
                pass
        assert type(caught.value).__name__ != "Timeout"
        with files.lock(KEY) as held:
            assert held

    def test_a_lock_that_cannot_be_had_is_an_error_and_not_somebody_elses(self, files):
        files.save(KEY, TOKEN)
        os.mkdir(os.path.join(files.directory, f"{KEY}.lock"))
        with pytest.raises(OSError) as caught, files.lock(KEY):  # noqa: PT011  # each platform has its own
            pass
        assert type(caught.value).__name__ != "Timeout"

    def test_a_lock_that_somebody_else_holds_is_not_waited_for(self, files, monkeypatch):
        with files.lock(KEY) as first, monkeypatch.context() as patch:
            patch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
            with files.lock(KEY) as second:
                pass
        assert (first, second) == (True, False)

    @posix
    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_fork_neither_has_nor_lets_go_of_its_parents_lock(self, files):
        entered, go = threading.Event(), threading.Event()

        def hold():
            with files.lock(KEY):
                entered.set()
                assert go.wait(20)

        def take():
            gc.collect()
            with files.lock(KEY) as held:
                return held

        holder = threading.Thread(target=hold)
        holder.start()
        assert entered.wait(20)
        assert in_child(take) == 0
        assert not take()
        go.set()
        holder.join()
        assert in_child(take) == 1
        assert take()

    @posix
    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
    def test_nobody_else_can_read_whatever_the_umask(self, files, umask):
        before = os.umask(umask)
        try:
            with files.lock(KEY) as held:
                files.save(KEY, TOKEN)
        finally:
            os.umask(before)
        assert held
        assert stat.S_IMODE(os.stat(files.directory).st_mode) == 0o700
        names = os.listdir(files.directory)
        assert sorted(names) == [f"{KEY}.json", f"{KEY}.lock"]
        modes = {stat.S_IMODE(os.stat(os.path.join(files.directory, name)).st_mode) for name in names}
        assert modes == {0o600}

    def test_a_save_leaves_nothing_else_behind(self, files):
        for _ in range(3):
            files.save(KEY, TOKEN)
        assert os.listdir(files.directory) == [f"{KEY}.json"]

    def test_a_save_writes_beside_what_it_replaces_under_a_name_that_is_swept(self, files, monkeypatch):
        made = []
        mkstemp = tempfile.mkstemp
        monkeypatch.setattr(tempfile, "mkstemp", lambda **options: made.append(options) or mkstemp(**options))
        files.save(KEY, TOKEN)
        files.save_document(KEY, b"document")
        assert made == [{"prefix": f"{KEY}.", "suffix": ".tmp", "dir": files.directory}] * 2

    def test_a_save_that_fails_leaves_nothing_behind(self, files, monkeypatch):
        files.save(KEY, TOKEN)
        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="no"):
            files.save(KEY, OTHER)
        assert os.listdir(files.directory) == [f"{KEY}.json"]
        assert files.load(KEY) == TOKEN

    def test_tells_the_keys_of_its_tokens_and_of_nothing_else(self, files):
        assert files.keys() == []
        files.save_document("c", b"document")
        assert files.keys() == []
        for key in ("b", "a"):
            files.save(key, TOKEN)
        with files.lock("d"):
            assert files.keys() == ["a", "b"]
        os.chmod(files.directory, 0o755)
        with pytest.raises(PermissionError, match="open to other accounts"):
            files.keys()

    def test_removes_what_a_killed_writer_left_and_only_that(self, files):
        files.save(KEY, TOKEN)
        old, new, foreign = (
            os.path.join(files.directory, name) for name in (f"{KEY}.1.tmp", f"{KEY}.2.tmp", "x.1.tmp")
        )
        for path in (old, new, foreign):
            with open(path, "w"):
                pass
        for path in (old, foreign):
            os.utime(path, (time.time() - 3600,) * 2)
        files.save(KEY, OTHER)
        assert not os.path.exists(old)
        assert os.path.exists(new)
        assert os.path.exists(foreign)

    def test_a_save_whose_file_somebody_took_away_says_what_went_wrong_first(self, files, monkeypatch):
        def taken_away(source, target):
            os.unlink(source)
            fail()

        monkeypatch.setattr(os, "replace", taken_away)
        with pytest.raises(OSError, match=r"^no$"):
            files.save(KEY, TOKEN)

    @pytest.mark.parametrize(("age", "kept"), [(60, True), (61, False), (-60, True), (-61, False)])
    def test_a_writer_is_given_a_minute(self, files, monkeypatch, age, kept):
        """Whichever way the clock was set meanwhile."""
        files.save(KEY, TOKEN)
        path = os.path.join(files.directory, f"{KEY}.1.tmp")
        with open(path, "w"):
            os.utime(path, (1_000_000, 1_000_000))
        monkeypatch.setattr(time, "time", lambda: 1_000_000.0 + age)
        files.save(KEY, OTHER)
        assert os.path.exists(path) is kept

    @posix
    def test_a_link_is_as_old_as_itself_and_what_cannot_be_removed_stays(self, files, tmp_path):
        files.save(KEY, TOKEN)
        link, directory = (os.path.join(files.directory, f"{KEY}.{name}.tmp") for name in ("link", "directory"))
        (tmp_path / "new").touch()
        os.symlink(tmp_path / "new", link)
        os.mkdir(directory)
        for path in (link, directory):
            os.utime(path, (1_000_000, 1_000_000), follow_symlinks=False)
        files.save(KEY, OTHER)
        assert not os.path.lexists(link)
        assert (tmp_path / "new").exists()
        assert os.path.isdir(directory)

    RECORD: typing.ClassVar = {"version": 1, "key": KEY, **TOKEN.to_record()}

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b"\xff\xfe\x00",
            b"[" * 100_000,
            json.dumps({**RECORD, "version": 2}).encode(),
            json.dumps({**RECORD, "key": "fedcba"}).encode(),
            json.dumps({**RECORD, "access_token": None}).encode(),
            json.dumps({**RECORD, "access_token": "two\nlines"}).encode(),
            json.dumps({**RECORD, "expires_at": "soon"}).encode(),
            json.dumps({**RECORD, "expires_at": float("nan")}).encode(),
            json.dumps({**RECORD, "expires_at": float("inf")}).encode(),
            json.dumps({**RECORD, "obtained_at": float("-inf")}).encode(),
            json.dumps(RECORD).replace("4600.5", "1e400").encode(),
            json.dumps({**RECORD, "expires_at": True}).encode(),
            json.dumps({**RECORD, "expires_at": 10**400}).encode(),
            json.dumps({**RECORD, "on_probation": 1}).encode(),
            json.dumps({"version": 1, "key": KEY}).encode(),
            json.dumps(RECORD).encode()[:-20],
            json.dumps(RECORD).encode() + b" " * 1_000_000,
        ],
        ids=range(21),
    )
    def test_what_cannot_be_understood_is_a_miss_and_is_overwritten(self, files, content):
        files.save(KEY, TOKEN)
        with open(os.path.join(files.directory, f"{KEY}.json"), "wb") as file:
            file.write(content)
        assert files.load(KEY) is None
        files.save(KEY, OTHER)
        assert files.load(KEY) == OTHER

    @pytest.mark.parametrize("version", [None, 0, 2, "1", [1], {}, True, 1.0])
    def test_a_record_of_another_version_is_a_miss(self, files, version):
        files.save(KEY, TOKEN)
        with open(os.path.join(files.directory, f"{KEY}.json"), "w") as file:
            json.dump({**self.RECORD, "version": version}, file)
        assert files.load(KEY) is None

    @pytest.mark.parametrize("name", RECORD)
    @pytest.mark.parametrize("value", [[], {}, [[]], -1e999], ids=repr)
    def test_a_record_with_a_value_of_another_kind_is_a_miss(self, files, name, value):
        files.save(KEY, TOKEN)
        with open(os.path.join(files.directory, f"{KEY}.json"), "w") as file:
            json.dump({**self.RECORD, name: value}, file)
        assert files.load(KEY) is None

    def test_a_record_that_ends_anywhere_too_soon_is_a_miss(self, files):
        files.save(KEY, TOKEN)
        path = os.path.join(files.directory, f"{KEY}.json")
        for length in reversed(range(os.path.getsize(path))):
            os.truncate(path, length)
            assert files.load(KEY) is None
        files.save(KEY, OTHER)
        assert files.load(KEY) == OTHER

    @pytest.mark.parametrize(("more", "held"), [(0, TOKEN), (1, None)])
    def test_a_record_of_a_quarter_of_a_mebibyte_is_read_and_no_larger_one(self, files, more, held):
        files.save(KEY, TOKEN)
        with open(os.path.join(files.directory, f"{KEY}.json"), "w") as file:
            file.write(json.dumps(self.RECORD).ljust(256 * 1024 + more))
        assert files.load(KEY) == held

    def test_a_record_of_any_depth_is_a_miss(self, files):
        files.save(KEY, TOKEN)
        for opening in (b"[", b'{"a":', b'[{"a":'):
            with open(os.path.join(files.directory, f"{KEY}.json"), "wb") as file:
                file.write(opening * 30_000)
            assert files.load(KEY) is None

    @posix
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o777])
    def test_a_file_that_is_open_to_others_is_not_believed(self, files, mode):
        files.save(KEY, TOKEN)
        path = os.path.join(files.directory, f"{KEY}.json")
        os.chmod(path, mode)
        assert files.load(KEY) is None
        files.save(KEY, OTHER)
        assert files.load(KEY) == OTHER
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    @posix
    @pytest.mark.parametrize("mode", [0o750, 0o705, 0o770, 0o1777])
    def test_a_directory_that_is_open_to_others_is_not_used(self, files, mode):
        files.save(KEY, TOKEN)
        os.chmod(files.directory, mode)
        for use in (lambda: files.load(KEY), lambda: files.save(KEY, OTHER), lambda: files.lock(KEY).__enter__()):
            with pytest.raises(
                PermissionError, match=r"cache is open to other accounts: .* \(chmod 700\), or remove it$"
            ):
                use()
        assert stat.S_IMODE(os.stat(files.directory).st_mode) == mode

    @posix
    def test_what_belongs_to_another_account_is_not_believed(self, files, monkeypatch):
        files.save(KEY, TOKEN)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(PermissionError, match=r"cache belongs to another account: choose another directory$"):
            files.load(KEY)
        monkeypatch.setattr(file_module, "_check_directory", lambda directory: None)
        assert files.load(KEY) is None

    @needs_root
    def test_a_file_of_another_account_is_not_believed_and_is_replaced(self, files):
        files.save(KEY, TOKEN)
        path = os.path.join(files.directory, f"{KEY}.json")
        os.chown(path, 54_321, -1)
        assert files.load(KEY) is None
        files.save(KEY, OTHER)
        assert files.load(KEY) == OTHER
        assert os.stat(path).st_uid == os.geteuid()

    @needs_root
    def test_a_device_is_not_read_and_is_replaced(self, files):
        files.save(KEY, TOKEN)
        path = os.path.join(files.directory, f"{KEY}.json")
        os.unlink(path)
        os.mknod(path, stat.S_IFCHR | 0o600, os.stat("/dev/zero").st_rdev)
        assert files.load(KEY) is None
        files.save(KEY, OTHER)
        assert files.load(KEY) == OTHER

    @needs_root
    @pytest.mark.parametrize("kind", ["directory", "link"])
    def test_what_another_account_put_where_all_may_write_is_not_used(self, tmp_path, kind):
        """As in ``/tmp``, where whoever comes first makes the directory."""
        shared, theirs = tmp_path / "shared", tmp_path / "theirs"
        shared.mkdir()
        shared.chmod(0o1777)
        theirs.mkdir(mode=0o700)
        store = open_store(shared)
        if kind == "directory":
            os.rename(theirs, store.directory)
        else:
            os.symlink(theirs, store.directory)
        os.chown(store.directory, 54_321, -1, follow_symlinks=False)
        for use in (lambda: store.load(KEY), lambda: store.save(KEY, OTHER), lambda: store.lock(KEY).__enter__()):
            with pytest.raises((PermissionError, NotADirectoryError)):
                use()
        assert os.listdir(store.directory) == []

    @posix
    def test_a_directory_below_a_symbolic_link_is_used(self, tmp_path):
        (tmp_path / "real").mkdir()
        os.symlink(tmp_path / "real", tmp_path / "link")
        store = open_store(tmp_path / "link")
        store.save(KEY, TOKEN)
        assert store.load(KEY) == TOKEN
        assert open_store(tmp_path / "real").load(KEY) == TOKEN

    @posix
    @pytest.mark.parametrize("exists", [True, False])
    def test_a_symbolic_link_in_the_place_of_the_lock_is_not_followed(self, files, tmp_path, exists):
        files.save(KEY, TOKEN)
        target = tmp_path / "elsewhere"
        if exists:
            target.write_text("of use to somebody")
        os.symlink(target, os.path.join(files.directory, f"{KEY}.lock"))
        with pytest.raises(OSError) as caught, files.lock(KEY):  # noqa: PT011  # ELOOP or EMLINK
            pass
        assert type(caught.value).__name__ != "Timeout"
        assert (target.read_text() == "of use to somebody") if exists else not target.exists()

    @posix
    def test_an_empty_directory_in_the_place_of_a_file_is_replaced_and_no_other(self, files):
        files.save(KEY, TOKEN)
        path = os.path.join(files.directory, f"{KEY}.json")
        os.unlink(path)
        os.mkdir(path)
        files.save(KEY, OTHER)
        assert files.load(KEY) == OTHER
        os.unlink(path)
        os.makedirs(os.path.join(path, "in it"))
        with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
            files.save(KEY, OTHER)
        assert os.listdir(files.directory) == [f"{KEY}.json"]

    @posix
    def test_a_symbolic_link_is_not_followed(self, files, tmp_path):
        files.save(KEY, TOKEN)
        path = os.path.join(files.directory, f"{KEY}.json")
        os.rename(path, tmp_path / "elsewhere")
        os.symlink(tmp_path / "elsewhere", path)
        assert files.load(KEY) is None
        files.save(KEY, OTHER)
        assert files.load(KEY) == OTHER
        assert json.loads((tmp_path / "elsewhere").read_text())["access_token"] == TOKEN.access_token

    @posix
    def test_a_directory_behind_a_symbolic_link_is_not_used(self, files, tmp_path):
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        os.symlink(tmp_path / "elsewhere", files.directory)
        with pytest.raises(NotADirectoryError, match=r"cache is not a directory$"):
            files.load(KEY)

    @posix
    def test_nothing_that_is_no_file_is_waited_for(self, files):
        files.save(KEY, TOKEN)
        path = os.path.join(files.directory, f"{KEY}.json")
        os.unlink(path)
        os.mkfifo(path, 0o600)
        assert files.load(KEY) is None
        os.unlink(path)
        os.mkdir(path, 0o700)
        assert files.load(KEY) is None
        os.rmdir(path)
        with socket.socket(socket.AF_UNIX) as listener:
            before = os.getcwd()
            os.chdir(files.directory)  # a socket's path may not be long
            try:
                listener.bind(f"{KEY}.json")
            finally:
                os.chdir(before)
        assert files.load(KEY) is None
        files.save(KEY, OTHER)
        assert files.load(KEY) == OTHER

    def test_makes_the_directories_that_are_missing(self, tmp_path):
        store = FileStore(tmp_path / "a" / "b" / "c")
        store.save(KEY, TOKEN)
        assert store.load(KEY) == TOKEN

    @posix
    @pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
    def test_makes_the_directories_that_are_missing_for_this_account_alone(self, tmp_path, umask):
        before = os.umask(umask)
        try:
            FileStore(tmp_path / "a" / "b" / "c").save(KEY, TOKEN)
        finally:
            os.umask(before)
        assert {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("a", "a/b", "a/b/c")} == {0o700}

    def test_a_directory_that_another_process_makes_at_the_same_moment_is_used(self, files, monkeypatch):
        make = os.mkdir
        monkeypatch.setattr(os, "mkdir", lambda *arguments: [make(*arguments) for _ in range(2)])
        files.save(KEY, TOKEN)
        assert files.load(KEY) == TOKEN

    @posix
    def test_a_directory_is_this_accounts_alone_from_its_first_moment_on(self, files, monkeypatch):
        monkeypatch.setattr(os, "chmod", None)  # it needs none
        before = os.umask(0)
        try:
            files.save(KEY, TOKEN)
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat(files.directory).st_mode) == 0o700

    @posix
    def test_a_directory_whose_maker_was_killed_too_soon_is_repaired(self, files):
        os.mkdir(files.directory, 0o000)  # as a umask that takes all leaves it
        files.save(KEY, TOKEN)
        assert stat.S_IMODE(os.stat(files.directory).st_mode) == 0o700

    def test_stays_where_it_was_made(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        store = FileStore("cache")
        monkeypatch.chdir("/")
        assert store == FileStore(tmp_path / "cache")
        assert hash(store) == hash(FileStore(tmp_path / "cache"))
        assert store != FileStore(tmp_path)

    @pytest.mark.parametrize("times", [2, 4])
    def test_a_reader_that_has_the_file_open_is_waited_for(self, files, monkeypatch, times):
        """As on Windows, where an open file cannot be replaced; to the last try."""
        busy, replace = [PermissionError()] * times, os.replace

        def replace_when_free(source, target):
            if busy:
                raise busy.pop()
            replace(source, target)

        monkeypatch.setattr(os, "replace", replace_when_free)
        monkeypatch.setattr(file_module, "_POSIX", False)
        files.save(KEY, TOKEN)
        assert files.load(KEY) == TOKEN

    @posix
    def test_a_refused_replacement_is_not_tried_again_where_no_reader_can_be_the_reason(self, files, monkeypatch):
        tries = []

        def refuse(source, target):
            tries.append(target)
            raise PermissionError("no")

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(PermissionError):
            files.save(KEY, TOKEN)
        assert len(tries) == 1

    def test_a_reader_that_stays_is_not_waited_for_for_ever(self, files, monkeypatch):
        pauses = []
        monkeypatch.setattr(time, "sleep", pauses.append)
        monkeypatch.setattr(os, "replace", lambda source, target: fail(error=PermissionError))
        monkeypatch.setattr(file_module, "_POSIX", False)
        with pytest.raises(PermissionError):
            files.save(KEY, TOKEN)
        assert pauses == [0.01] * 4


class TestOpening:
    def test_the_users_own_directory(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert open_store("file") == FileStore(tmp_path / "xdg" / "aritma-session")

    def test_memory(self):
        assert isinstance(open_store("memory"), MemoryStore)

    @pytest.mark.parametrize("make", [str, lambda path: path])
    def test_a_directory(self, tmp_path, make):
        assert open_store(make(tmp_path)) == FileStore(tmp_path / "aritma-session")

    def test_a_directory_below_the_current_one_or_home(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert open_store("./tokens") == FileStore(tmp_path / "tokens" / "aritma-session")
        assert open_store("~/tokens") == FileStore(tmp_path / "home" / "tokens" / "aritma-session")

    def test_a_directory_that_others_may_enter_has_a_safe_one_in_it(self, tmp_path):
        shared = tmp_path / "shared"
        shared.mkdir(mode=0o777)
        shared.chmod(0o777)
        store = open_store(shared)
        store.save(KEY, TOKEN)
        assert store.load(KEY) == TOKEN

    def test_a_store(self):
        store = MemoryStore()
        assert open_store(store) is store

    @pytest.mark.parametrize("url", ["redis://h", "rediss://h:7/3", "unix:///run/redis"])
    def test_a_url_of_redis(self, url):
        assert open_store(url) == RedisStore(url)

    def test_a_client_of_redis(self):
        client = redis.Redis()
        assert open_store(client) == RedisStore(client)

    @pytest.mark.parametrize("cache", ["file", "./tokens", "keyring:", "redis://h"])
    def test_what_seals(self, cache):
        sealing = Sealing(Fernet.generate_key().decode())
        assert open_store(cache, sealing).sealing == sealing
        assert open_store(cache).sealing is None

    @pytest.mark.parametrize(("cache", "extra"), [("redis://h", "redis"), ("keyring:", "keyring")])
    def test_an_extra_that_is_missing(self, monkeypatch, cache, extra):
        monkeypatch.setitem(sys.modules, f"aritma_session.stores.{extra}", None)
        with pytest.raises(ValueError, match=rf'^{extra} is not installed: pip install "aritma-session\[{extra}\]"$'):
            open_store(cache)

    @pytest.mark.parametrize("name", ["file", "memory", "tokens"])
    def test_a_path_is_a_directory_whatever_its_name(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        assert open_store(pathlib.Path(name)) == FileStore(tmp_path / name / "aritma-session")

    @pytest.mark.parametrize("wrong", ["flie", "", "http://localhost", "keyring", 3, object(), FileStore])
    def test_anything_else_is_refused(self, wrong):
        with pytest.raises(ValueError, match=r"store|directory"):
            open_store(wrong)

    def test_what_is_refused_is_told_what_would_do(self):
        kinds = '"file", "memory", "keyring:", a directory (one such as "./tokens")'
        urls = 'a URL that begins with "redis://", "rediss://" or "unix://"'
        with pytest.raises(ValueError, match="a directory") as caught:
            open_store("flie")
        assert str(caught.value) == f"'flie' is not {kinds} or {urls}"

    @pytest.mark.parametrize("wrong", ["./tok\0ens", "/\0", pathlib.Path("tok\0ens")])
    def test_a_path_with_a_nul_is_refused(self, wrong):
        with pytest.raises(ValueError, match=r'is not "file", "memory", "keyring:", a directory'):
            open_store(wrong)

    def test_what_is_refused_is_named_by_its_type(self):
        with pytest.raises(ValueError, match=r"^int is not a store: it has no load, save, remove and lock$"):
            open_store(7)

    def test_a_path_of_bytes_is_refused(self):
        class BytesPath:
            def __fspath__(self):
                return b"./tokens"

        with pytest.raises(ValueError, match=r'is not "file", "memory", "keyring:", a directory'):
            open_store(BytesPath())

    @pytest.mark.parametrize(
        "wrong",
        [
            "http://:secret@localhost/0",
            "redis://:secret@localhost?db=x",
            "client:secret@localhost",
            pathlib.Path("client:secret@localhost\0"),
        ],
    )
    def test_what_stands_before_an_at_sign_is_not_shown(self, wrong):
        with pytest.raises(ValueError, match="localhost") as caught:
            open_store(wrong)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("linux", [True, False])
    @pytest.mark.parametrize("stated", ["", "tokens", "./tokens", "/var/tokens", "~/tokens"])
    def test_the_users_own_directory_is_where_the_system_has_it(self, monkeypatch, linux, stated):
        monkeypatch.setenv("XDG_CACHE_HOME", stated)
        monkeypatch.setattr("aritma_session.stores._LINUX", linux)
        base = "/var/tokens" if stated == "/var/tokens" else os.path.expanduser("~/.cache")
        if linux or os.path.isabs(stated) or not stated:  # releases of platformdirs differ about the others
            assert open_store("file") == FileStore.below(base)

    @pytest.mark.parametrize("linux", [True, False])
    def test_an_account_without_a_home_directory(self, monkeypatch, caplog, linux):
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda: "~/.cache")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        monkeypatch.setattr("aritma_session.stores._LINUX", linux)
        with caplog.at_level(logging.WARNING):
            assert isinstance(open_store("file"), MemoryStore)
        assert said(caplog) == [unshared("this account has no home directory")]

    def test_an_account_without_a_home_directory_where_platformdirs_raises(self, monkeypatch, caplog):
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda: fail(error=RuntimeError))
        monkeypatch.setattr("aritma_session.stores._LINUX", False)
        assert isinstance(open_store("file"), MemoryStore)
        assert said(caplog) == [unshared("this account has no home directory")]

    def test_the_home_of_an_account_that_is_unknown(self, monkeypatch, caplog, tmp_path):
        monkeypatch.chdir(tmp_path)
        assert isinstance(open_store("~no-such-account/tokens"), MemoryStore)
        assert said(caplog) == [unshared("this account has no such home directory")]
        assert open_store("./~tokens") == FileStore(tmp_path / "~tokens" / "aritma-session")

    @posix
    def test_a_current_directory_that_is_gone(self, monkeypatch, caplog, tmp_path):
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert isinstance(open_store("./tokens"), MemoryStore)
        assert said(caplog) == [unshared("the current directory is gone")]


def unshared(reason):
    advice = "no token is shared with other processes (set cache or ARITMA_CACHE to a directory)"
    return "WARNING", f"{reason}: {advice}"


def fail(*arguments, error=OSError):
    raise error("no")
