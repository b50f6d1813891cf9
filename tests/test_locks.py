"""The lock of a file: one holder, of all threads and processes, for as long as it lives."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from aritma_session.stores import locks
from aritma_session.stores.locks import try_lock

from helpers import at_once, fork, in_child, outcome, results, wait_for


@pytest.fixture(params=["fcntl", "filelock"])
def kind(request, monkeypatch):
    """The lock of the kernel's own, and the one that systems without fcntl have."""
    if request.param == "filelock":
        monkeypatch.setattr(locks, "_FCNTL", False)
    return request.param


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "key.lock")


def taken(path):
    with try_lock(path) as held:
        return held


@pytest.mark.usefixtures("kind")
class TestAny:
    def test_has_one_holder(self, path):
        with try_lock(path) as first, try_lock(path) as second:
            assert (first, second) == (True, False)
            assert not taken(path)
        assert taken(path)

    def test_has_one_holder_among_threads(self, path):
        with try_lock(path):
            assert at_once(8, lambda: taken(path)) == [False] * 8
        assert taken(path)

    def test_is_let_go_of_by_whoever_raises(self, path):
        with pytest.raises(KeyError), try_lock(path):
            raise KeyError
        assert taken(path)

    def test_a_try_that_failed_lets_go_of_nothing(self, path):
        with try_lock(path):
            taken(path)
            assert not taken(path)

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_its_file_is_this_accounts_alone(self, path, umask):
        before = os.umask(umask)
        try:
            assert taken(path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    def test_a_symbolic_link_is_an_error_and_not_followed(self, path, tmp_path):
        os.symlink(tmp_path / "elsewhere", path)
        with pytest.raises(OSError, match=r"key\.lock"):
            taken(path)
        assert not os.path.exists(tmp_path / "elsewhere")

    def test_a_directory_is_an_error(self, path):
        os.mkdir(path)
        with pytest.raises(OSError, match=r"key\.lock"):
            taken(path)

    def test_ends_with_its_holder(self, path):
        code = """if True:
            import sys
            from aritma_session.stores import locks
            locks._FCNTL = sys.argv[2] == "True"
            with locks.try_lock(sys.argv[1]) as held:
                print(held, flush=True)
                sys.stdin.read()
        """
        arguments = [sys.executable, "-c", code, path, str(locks._FCNTL)]
        holder = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout.readline() == "True\n"
            assert not taken(path)
        finally:
            holder.kill()
            holder.communicate()
        assert taken(path)


def test_where_there_is_no_fcntl_filelock_is_asked(start):
    code = """if True:
        import json, sys
        sys.modules["fcntl"] = None
        from aritma_session.stores import locks
        print(json.dumps(locks._FCNTL))
    """
    assert results([start(code)]) == [False]


class TestKernel:
    def test_its_file_keeps_what_is_in_it(self, path):
        with open(path, "w") as file:
            file.write("kept")
        assert taken(path)
        with open(path) as file:
            assert file.read() == "kept"

    def test_a_fifo_is_an_error_and_not_waited_for(self, path):
        os.mkfifo(path)
        with pytest.raises(OSError, match=r"key\.lock is not a regular file of this account's$"):
            taken(path)

    def test_its_descriptor_waits_for_nothing_and_is_inherited_by_nobody(self, path):
        with try_lock(path):
            (descriptor,) = locks._held
            assert not os.get_blocking(descriptor)
            assert not os.get_inheritable(descriptor)

    def test_a_umask_that_takes_the_owners_own_bits_does_not_count(self, path):
        before = os.umask(0o777)
        try:
            assert taken(path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    def test_leaves_no_descriptor_open(self, path):
        before = len(os.listdir("/proc/self/fd"))
        with try_lock(path):
            taken(path)
        os.unlink(path)
        os.mkfifo(path)
        with pytest.raises(OSError, match="regular"):
            taken(path)
        assert len(os.listdir("/proc/self/fd")) == before
        assert not locks._held

    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_child_neither_has_its_parents_lock_nor_lets_go_of_it(self, path):
        with try_lock(path):
            assert in_child(lambda: 2 + taken(path)) == 2
            assert not taken(path)

    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_child_that_leaves_where_the_parent_entered_closes_no_file_of_its_own(self, path):
        manager = try_lock(path)
        assert manager.__enter__()
        (descriptor,) = locks._held

        def child():
            with open(path, "rb") as other:  # which is given the number that is free
                if other.fileno() != descriptor:
                    return 1
                manager.__exit__(None, None, None)
                os.fstat(descriptor)
            return 0

        assert in_child(child) == 0
        assert not taken(path)
        manager.__exit__(None, None, None)
        assert taken(path)

    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(self, path, tmp_path):
        def parent():
            with try_lock(path):
                child = fork(signal.pause)
                (tmp_path / "child.new").write_text(str(child))
                os.rename(tmp_path / "child.new", tmp_path / "child")
                signal.pause()

        holder = fork(parent)
        wait_for((tmp_path / "child").exists)
        try:
            assert not taken(path)
            os.kill(holder, signal.SIGKILL)
            outcome(holder)
            wait_for(lambda: taken(path))  # the child may be slow to close what it inherited
        finally:
            os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)

    def test_what_a_child_inherits_is_closed_and_stays_locked(self, path, monkeypatch):
        with try_lock(path):
            inherited = {os.dup(descriptor) for descriptor in locks._held}
            with monkeypatch.context() as patch:
                patch.setattr(locks, "_held", set(inherited))
                locks._leave_to_the_parent()
                assert locks._held == set()
            for descriptor in inherited:
                with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                    os.fstat(descriptor)
            assert not taken(path)

    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_childs_child_is_forked_as_well(self, path):
        assert in_child(lambda: in_child(lambda: taken(path))) == 1


def test_filelock_is_what_locks_where_there_is_no_fcntl(path, monkeypatch):
    monkeypatch.setattr(locks, "_FCNTL", False)
    monkeypatch.setattr(locks, "_by_kernel", None)
    assert taken(path)


def test_a_lock_file_is_this_accounts_alone_from_its_first_moment_on(path, monkeypatch):
    monkeypatch.setattr(locks.os, "fchmod", None)  # it needs none
    before = os.umask(0)
    try:
        assert taken(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no fork here")
class TestAfterAKill:
    @pytest.fixture
    def refusing(self, monkeypatch, path):
        """An account that may not open what it has no bits for, as only root may; how it has tried."""
        real, tries = os.open, []

        def checked(name, *arguments, **options):
            tries.append((name, *arguments))
            if name == path and os.path.exists(path) and not stat.S_IMODE(os.stat(path).st_mode) & 0o200:
                raise PermissionError(13, "Permission denied", name)
            return real(name, *arguments, **options)

        monkeypatch.setattr(locks.os, "open", checked)
        return tries

    def test_a_file_whose_maker_did_not_come_to_its_mode_is_repaired(self, path, refusing, monkeypatch):
        os.close(os.open(path, os.O_CREAT, 0o000))
        refusing.clear()
        monkeypatch.setattr(locks.os, "fchmod", None)  # it needs no second repair
        assert taken(path)
        first, second = refusing
        assert first == second
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    def test_what_is_not_this_accounts_is_left_alone(self, path, refusing, monkeypatch):
        os.close(os.open(path, os.O_CREAT, 0o000))
        monkeypatch.setattr(locks.os, "geteuid", lambda: 4711)
        with pytest.raises(PermissionError):
            taken(path)
        os.chmod(path, 0o644)
        with pytest.raises(OSError, match="not a regular file of this account"):
            taken(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o644

    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_fork_waits_until_a_holder_has_let_go(self, path, monkeypatch):
        """Else the child would keep a descriptor that nobody closes, and the lock with it if the parent is killed."""
        amid, goes_on = threading.Event(), threading.Event()
        real = locks.fcntl.flock

        def slow(descriptor, operation):
            if operation == locks.fcntl.LOCK_UN:
                amid.set()
                goes_on.wait(20)
            return real(descriptor, operation)

        monkeypatch.setattr(locks.fcntl, "flock", slow)
        holder = threading.Thread(target=taken, args=(path,))
        holder.start()
        assert amid.wait(20)
        threading.Timer(0.2, goes_on.set).start()
        assert in_child(lambda: open_files().count(path)) == 0
        holder.join(20)


def open_files():
    found = []
    for number in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            found.append(os.readlink(f"/dev/fd/{number}"))
    return found
