"""What happens to a cache and to those who share it: every call is answered, and the cache heals by itself."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

import platformdirs
import pytest
import requests

from aritma_session import AritmaSession, FileStore, MemoryStore, Token
from aritma_session.sandbox import Answer
from aritma_session.source import LOCK_TIMEOUT, TokenSource

from helpers import results, wait_for
from kernel import be_ordinary, die_in, fate, linux, mount_memory, refuse, set_read_only, told

pytestmark = [linux, pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")

#: An account that has no name, and no home.
NOBODY = 54_321

DAY = 86_400.0

#: Make a call, saying what happens to the token, and print how it was answered.
CALLER = """if True:
    import logging, sys
    from aritma_session import AritmaSession
    logging.basicConfig(level='INFO', format='%(message)s', stream=sys.stdout)
    with AritmaSession() as session:
        print(session.get(sys.argv[1], timeout=30).status_code)
"""


@pytest.fixture
def directory(cache):
    """Where the tokens are, in the end."""
    return cache / "aritma-session"


@pytest.fixture
def revoke(environ, sandbox):
    """Refuse all tokens issued so far; from a fork too, which has but a copy of the sandbox."""
    return lambda: requests.post(f"{sandbox.issuer}/sandbox/revoke", timeout=30).raise_for_status()


@pytest.fixture
def ask(environ, sandbox, echo, caplog):
    """Make calls as so many new processes would; the token requests that they took, and the warnings that they gave."""
    process = os.getpid()

    def count():
        if os.getpid() == process:
            return sandbox.counts.token_requests
        # A fork has but a copy of the sandbox.
        return requests.get(f"{sandbox.issuer}/sandbox/counts", timeout=30).json()["token_requests"]

    def asker(sessions=1, calls=3):
        caplog.clear()
        before = count()
        for _ in range(sessions):
            with AritmaSession() as session:
                assert [session.get(echo, timeout=30).status_code for _ in range(calls)] == [200] * calls
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        return [count() - before, warnings]

    return asker


@pytest.fixture
def healed(ask, revoke, directory):
    """Assert that processes share a renewed token again, and that nothing is left over."""

    def check():
        if directory.exists():
            age(directory)
        revoke()
        assert ask(sessions=2) == [1, []]
        assert endings(directory) == ["json", "lock"]

    return check


@pytest.fixture
def warm(ask, cache):
    """Nothing but what has been imported, and what the test run has open, by an earlier call."""
    ask()
    shutil.rmtree(cache)


def age(directory):
    """Let everything in a directory be of an hour ago."""
    for entry in os.scandir(directory):
        os.utime(entry, (time.time() - 3600,) * 2, follow_symlinks=False)


def endings(directory):
    """What kinds of files are kept for the token; what an issuer says of itself is beside them."""
    return sorted(kind for name in os.listdir(directory) if (kind := name.rpartition(".")[2]) != "metadata")


def files_of(directory, suffix):
    return [entry.path for entry in os.scandir(directory) if entry.name.endswith(suffix)]


class DyingStore(FileStore):
    """A store whose process is killed in one step of its work."""

    def __init__(self, directory, method, call):
        super().__init__(directory)
        self.method, self.call = method, call

    def lock(self, key):
        if self.method == "lock":
            die_in(self.call)
        return super().lock(key)

    def save(self, key, token):
        if self.method == "save":
            die_in(self.call)
        super().save(key, token)


class TestAKill:
    #: For each line that it reads, forks two processes that make calls until they are killed, and prints their process
    #: ids; at the next line, how they ended. It has one thread, and nothing of a test run.
    NURSERY = """if True:
        import os, sys
        from aritma_session import AritmaSession

        def live(nursery):
            with AritmaSession() as session:
                while os.getppid() == nursery:
                    session.get(sys.argv[1], timeout=30)
            os._exit(0)

        with AritmaSession(cache="memory") as warm:
            warm.get(sys.argv[1]).raise_for_status()
        while sys.stdin.readline():
            children, nursery = [], os.getpid()
            for _ in range(2):
                children.append(os.fork())
                if children[-1] == 0:
                    live(nursery)
            print(*children, flush=True)
            sys.stdin.readline()
            print(*[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], flush=True)
    """

    def put_an_ageing_token(self, files, echo):
        """Save a token that servers take and whose time to be renewed ahead has come; its key, and the token."""
        memory = MemoryStore()
        with AritmaSession(cache=memory) as session:
            session.get(echo, timeout=30).raise_for_status()
        ((key, token),) = memory._tokens.items()
        now = time.time()
        aged = token.replace(obtained_at=now - 3500, expires_at=now + 500)
        files.save(key, aged)
        return key, aged

    @pytest.mark.parametrize("rounds", [12, pytest.param(300, marks=pytest.mark.soak)])
    def test_at_any_moment_tears_nothing_and_leaves_no_lock(
        self, environ, sandbox, echo, start, directory, healed, rounds
    ):
        seed = random.randrange(2**32)
        sys.stdout.write(f"seed {seed}\n")  # shown where the test fails
        moments = random.Random(seed)
        sandbox.answer_token_requests(*[Answer.token(expires_in=0)] * 100 * rounds)  # each call needs a new one
        nursery, files = start(self.NURSERY, echo), FileStore(directory)
        renewed = cut_off = 0

        def tell():
            nursery.stdin.write("go on\n")
            nursery.stdin.flush()
            return [int(word) for word in nursery.stdout.readline().split()]

        for number in range(rounds):
            ageing = number % 4 > 1
            if ageing:  # what they find is good, so that the first token request is a renewal behind their calls
                key, aged = self.put_an_ageing_token(files, echo)
                sandbox.token_delay = 5.0 if number % 8 == 3 else 0.01  # the longer one outlasts them
            else:
                sandbox.token_delay = 0.0
            before = sandbox.counts.token_requests
            children = tell()
            if number % 2:  # at any moment of a life, not of its beginning alone
                wanted = before + (1 if ageing else 2)
                wait_for(lambda wanted=wanted: sandbox.counts.token_requests >= wanted)
            for child in children:
                if not ageing:
                    sandbox.revoke_all()
                time.sleep(moments.uniform(0, 0.03))
                os.kill(child, signal.SIGKILL)
            assert tell() == [-signal.SIGKILL] * 2
            for path in files_of(directory, ".json") if directory.exists() else ():
                assert files.load(os.path.basename(path).removesuffix(".json")), "torn"
            if ageing:
                left = files.load(key)
                renewed += sandbox.counts.token_requests > before
                cut_off += left.access_token == aged.access_token and left.renewal_tried_at is not None
        sys.stdout.write(f"{renewed} rounds asked for a token ahead, and {cut_off} were cut off in a renewal\n")
        assert renewed >= rounds // 4
        assert cut_off >= rounds // 8
        assert fate(lambda: DyingStore(directory, "save", "rename").save(key, aged)) == -signal.SIGSYS
        assert files_of(directory, ".tmp")  # of this one at least, if no other was killed while it wrote
        age(directory)
        files.save(key, aged.replace(expires_at=aged.obtained_at))  # an expired one, for which another is fetched
        assert endings(directory) == ["json", "lock"]  # however many were killed
        sandbox.reset()
        said = start(CALLER, echo).communicate(timeout=50)[0].splitlines()
        assert said[-1] == "200"
        assert not [line for line in said if "waiting" in line]
        healed()

    @pytest.mark.parametrize(
        ("method", "call", "left"),
        [
            ("lock", "mkdir", None),
            ("lock", "flock", ["lock"]),
            ("save", "open", ["lock"]),
            ("save", "fchmod", ["lock", "tmp"]),
            ("save", "rename", ["lock", "tmp"]),
        ],
    )
    def test_in_any_step_leaves_what_the_next_process_can_use(
        self, warm, echo, ask, directory, healed, start, method, call, left
    ):
        """Each is where a kill may come, however seldom it does."""

        def die():
            with AritmaSession(cache=DyingStore(directory, method, call)) as session:
                session.get(echo)

        assert fate(die) == -signal.SIGSYS
        assert (endings(directory) if directory.exists() else None) == left
        assert "waiting" not in start(CALLER, echo).communicate(timeout=50)[0]
        assert ask(sessions=2) == [0, []]
        healed()

    def test_for_want_of_space_leaves_what_the_next_process_can_use(self, warm, echo, directory, ask, healed):
        """Where somebody gave SIGXFSZ, which Python ignores, its deadly meaning back."""

        def die():
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
            with AritmaSession() as session:
                session.get(echo)

        assert fate(die) == -signal.SIGXFSZ
        assert len(files_of(directory, ".tmp")) == 1
        assert ask(sessions=2) == [1, []]
        healed()


@pytest.mark.soak
def test_a_lock_holder_that_is_stopped_is_waited_for_within_the_bound(environ, sandbox, echo, start, healed):
    sandbox.token_delay = 3.0
    holder = start(CALLER, echo)
    wait_for(lambda: sandbox.counts.token_requests == 1)
    holder.send_signal(signal.SIGSTOP)
    sandbox.token_delay = 0.0
    began = time.monotonic()
    others = [start(CALLER, echo) for _ in range(4)]
    outputs = [other.communicate(timeout=2 * LOCK_TIMEOUT)[0].splitlines() for other in others]
    took = time.monotonic() - began
    assert [lines[-1] for lines in outputs] == ["200"] * 4
    assert LOCK_TIMEOUT <= took < LOCK_TIMEOUT + 10
    assert any("not waiting longer" in line for lines in outputs for line in lines)
    assert start(CALLER, echo).communicate(timeout=20)[0].splitlines() == ["took over a token from the cache", "200"]
    holder.send_signal(signal.SIGCONT)
    assert holder.communicate(timeout=20)[0].splitlines()[-1] == "200"
    healed()


def fill(directory):
    """Leave no room in a small file system."""
    with contextlib.suppress(OSError):
        for number in itertools.count():
            with open(directory / f"{number}.filling", "wb") as file:
                file.write(b"." * 4096)


class TestADisk:
    @pytest.mark.parametrize("options", ["size=64k", "nr_inodes=8"], ids=["bytes", "files"])
    def test_that_is_full_costs_a_warning_and_no_call(self, warm, ask, cache, directory, healed, options):
        cache.mkdir()

        def work():
            mount_memory(cache, options)
            fill(cache)
            full = ask(), ask(sessions=2)
            left = files_of(directory, "") if directory.exists() else []
            for path in files_of(cache, ".filling"):
                os.unlink(path)
            healed()
            return full, left

        ((one, warning), (two, warnings)), left = told(work)
        assert (one, len(warning), two, len(warnings)) == (1, 1, 2, 2)
        assert os.strerror(errno.ENOSPC) in warning[0]
        assert not [path for path in left if not path.endswith(".lock")]

    def test_that_takes_only_small_files_costs_a_warning_and_no_call(self, warm, ask, directory, healed):
        def work():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            limited, left = ask(), endings(directory)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            healed()
            return limited, left

        (count, (warning,)), left = told(work)
        assert count == 1
        assert os.strerror(errno.EFBIG) in warning
        assert left == ["lock"]

    def test_that_is_read_only_is_read_and_costs_a_warning_and_no_call(self, warm, ask, revoke, cache, healed):
        cache.mkdir()

        def work():
            mount_memory(cache, "size=1m")
            ask()
            set_read_only(cache, True)
            good = ask(sessions=2)
            revoke()
            bad = ask()
            set_read_only(cache, False)
            healed()
            return good, bad

        good, (count, (warning,)) = told(work)
        assert good == [0, []]
        assert count == 1
        assert os.strerror(errno.EROFS) in warning

    @pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
    def test_without_locks_costs_a_warning_and_no_call(self, warm, ask, revoke, number):
        def work():
            refuse("flock", number)
            first, second = ask(), ask()
            revoke()
            return first, second, ask(sessions=2)

        (count, warnings), second, (again, more) = told(work)
        assert (count, len(warnings)) == (1, 1)
        assert "could not be locked" in warnings[0]
        assert second == [0, []]  # what can be shared without a lock is
        assert (again, len(more)) == (1, 1)

    @pytest.mark.parametrize(
        ("call", "number"),
        [
            ("mkdir", errno.EDQUOT),
            ("fchmod", errno.EPERM),
            ("fchmod", errno.EIO),
            ("rename", errno.EIO),
            ("rename", errno.ENOSPC),
            ("rename", errno.EROFS),
        ],
    )
    def test_that_fails_in_any_step_costs_a_warning_and_no_call(self, warm, ask, healed, directory, call, number):
        def work():
            refuse(call, number)
            return ask()

        count, (warning,) = told(work)
        assert count == 1
        assert os.strerror(number) in warning
        assert not directory.exists() or not files_of(directory, ".tmp") + files_of(directory, ".json")
        healed()


class TestADirectory:
    @pytest.mark.parametrize(
        "change",
        [
            shutil.rmtree,
            lambda path: shutil.rmtree(path.parent),
            lambda path: (path.rename(path.parent / "old"), path.mkdir(0o700)),
            lambda path: [os.unlink(entry) for entry in os.scandir(path)],
        ],
        ids=["removed", "removed with the one above", "replaced by another", "emptied"],
    )
    def test_that_goes_while_it_is_used_is_made_again(self, ask, session, echo, revoke, directory, healed, change):
        assert session.get(echo).status_code == 200
        change(directory)
        assert session.get(echo).status_code == 200
        revoke()
        assert session.get(echo).status_code == 200
        assert ask(sessions=2) == [0, []]
        healed()

    @pytest.mark.parametrize(
        "put",
        [
            lambda path, elsewhere: path.write_text("in the way"),
            lambda path, elsewhere: path.symlink_to(elsewhere),
            lambda path, elsewhere: path.symlink_to(elsewhere / "no" / "such"),
            lambda path, elsewhere: path.symlink_to(path),
            lambda path, elsewhere: os.mkfifo(path, 0o600),
            lambda path, elsewhere: (path.mkdir(), path.chmod(0o777)),
            pytest.param(lambda path, elsewhere: (path.mkdir(0o700), os.chown(path, NOBODY, 0)), marks=needs_root),
        ],
        ids=["file", "link", "dangling link", "circular link", "FIFO", "open to others", "another account's"],
    )
    def test_that_something_else_takes_the_place_of_costs_a_warning_and_no_call(
        self, ask, session, echo, revoke, directory, healed, caplog, tmp_path, put
    ):
        session.get(echo)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(0o700)
        directory.rename(tmp_path / "before")
        put(directory, elsewhere)
        revoke()
        caplog.clear()
        assert [session.get(echo).status_code for _ in range(3)] == [200] * 3
        assert [record.levelname for record in caplog.records if record.levelname == "WARNING"] == ["WARNING"]
        count, warnings = ask()
        assert (count, len(warnings)) == (1, 1)
        assert os.listdir(elsewhere) == []
        (shutil.rmtree if directory.is_dir() and not directory.is_symlink() else os.unlink)(directory)
        healed()

    @pytest.mark.parametrize("above", [False, True], ids=["itself", "the one above"])
    def test_that_may_not_be_written_costs_a_warning_and_no_call(self, warm, ask, cache, directory, healed, above):
        closed = cache if above else directory
        closed.mkdir(0o700, parents=True)
        closed.chmod(0o500)

        def work():
            be_ordinary()
            found = ask()
            closed.chmod(0o700)
            healed()
            return found

        count, (warning,) = told(work)
        assert count == 1
        assert os.strerror(errno.EACCES) in warning

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777], ids=oct)
    def test_is_this_accounts_alone_whatever_the_umask(self, warm, ask, cache, directory, umask):
        def work():
            be_ordinary()
            os.umask(umask)
            found = ask(), ask()
            return found, [stat.S_IMODE(os.stat(path).st_mode) for path in (cache, directory, *files_of(directory, ""))]

        found, modes = told(work)
        assert found == [[1, []], [0, []]]
        assert modes == [0o700, 0o700, 0o600, 0o600, 0o600]

    @needs_root
    @pytest.mark.parametrize("setting", ["file", "~/tokens", None])
    def test_below_no_home_costs_a_warning_and_no_call(self, warm, ask, sandbox, monkeypatch, tmp_path, setting):
        """As in a container that runs under an account that nobody ever named."""
        with tempfile.TemporaryDirectory() as readable:
            os.chmod(readable, 0o755)
            shutil.copy(sandbox.ca_bundle, readable)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.path.join(readable, "ca.pem"))
            monkeypatch.delenv("HOME")
            monkeypatch.delenv("ARITMA_CACHE")
            if setting:
                monkeypatch.setenv("ARITMA_CACHE", setting)
            monkeypatch.chdir(tmp_path)
            before = os.listdir(tmp_path)
            with contextlib.suppress(RuntimeError):
                platformdirs.user_cache_dir()  # imports what that account may not be able to read

            def work():
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                return ask()

            count, (warning,) = told(work)
        assert count == 1
        assert "no " in warning
        assert "home directory" in warning
        assert "ARITMA_CACHE" in warning
        assert os.listdir(tmp_path) == before  # none that is called "~"

    #: A caller whose account has another home than that of the test run, which is not to be touched.
    MOVED = """if True:
        import pwd, sys
        home = sys.argv.pop()
        pwd.getpwuid = lambda uid: pwd.struct_passwd(["somebody", "x", uid, uid, "", home, "/bin/sh"])
    """

    def test_below_the_home_of_the_account_needs_no_variable(self, sandbox, echo, tmp_path):
        """As cron may start a process: where its home is, only the list of accounts says."""
        home = tmp_path / "account"
        home.mkdir()

        def call():
            command = [sys.executable, "-c", f"{self.MOVED}\n{CALLER}", echo, str(home)]
            done = subprocess.run(
                command, env=sandbox.environ(), capture_output=True, text=True, check=True, timeout=50
            )
            return done.stdout.splitlines()

        said = call()
        assert said[0].startswith("fetched")
        assert said[-1] == "200"
        directory = home / ".cache" / "aritma-session"
        (path,) = files_of(directory, ".json")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        token = FileStore(directory).load(os.path.basename(path).removesuffix(".json"))
        assert sandbox.requests[-1].headers["authorization"] == f"Bearer {token.access_token}"
        assert call() == ["took over a token from the cache", "200"]

    def test_below_a_current_directory_that_is_gone_costs_a_warning_and_no_call(self, warm, ask, monkeypatch, tmp_path):
        monkeypatch.setenv("ARITMA_CACHE", "./tokens")
        monkeypatch.chdir(tmp_path)

        def work():
            os.mkdir("gone")
            os.chdir("gone")
            os.rmdir(tmp_path / "gone")
            return ask()

        count, (warning,) = told(work)
        assert count == 1
        assert "the current directory is gone" in warning


def bind(path):
    """Leave a socket at a path, which may be longer than a socket's may be."""
    before = os.getcwd()
    os.chdir(os.path.dirname(path))
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.basename(path))
    finally:
        os.chdir(before)


def make_huge(path):
    with open(path, "wb") as file:
        file.truncate(64 * 1024 * 1024)


#: What may be in the place of a file.
THINGS = {
    "nothing in it": lambda path: pathlib.Path(path).touch(0o600),
    "binary": lambda path: pathlib.Path(path).write_bytes(bytes(range(256)) * 16),
    "huge": make_huge,
    "FIFO": lambda path: os.mkfifo(path, 0o600),
    "socket": bind,
    "directory": lambda path: os.mkdir(path, 0o700),
    "dangling link": lambda path: os.symlink(f"{path}.target", path),
    "link to itself": lambda path: os.symlink(path, path),
    "link to a device": lambda path: os.symlink("/dev/zero", path),
    "forbidden": lambda path: os.close(os.open(path, os.O_CREAT, 0o000)),
}
things = pytest.mark.parametrize("put", THINGS.values(), ids=THINGS)


class TestAFile:
    @things
    def test_that_is_no_record_is_replaced_by_one(self, ask, directory, healed, put):
        ask()
        (path,) = files_of(directory, ".json")
        os.unlink(path)
        put(path)

        def work():
            be_ordinary()
            return ask(sessions=2)

        assert told(work) == [1, []]
        assert not os.path.lexists(f"{path}.target")
        assert stat.S_ISREG(os.lstat(path).st_mode)
        healed()

    @things
    def test_in_the_place_of_a_lock_costs_a_warning_at_the_most(self, ask, revoke, directory, put):
        ask()
        (path,) = files_of(directory, ".lock")
        os.unlink(path)
        put(path)
        revoke()

        def work():
            be_ordinary()
            return ask(sessions=2)

        count, warnings = told(work)
        assert count == 1  # the cache serves without it
        assert len(warnings) <= 1
        assert not os.path.lexists(f"{path}.target")

    def test_that_cannot_be_replaced_costs_a_warning_and_no_call(self, ask, directory):
        ask()
        (path,) = files_of(directory, ".json")
        os.unlink(path)
        os.makedirs(os.path.join(path, "in it"))
        count, warnings = ask()
        assert (count, len(warnings)) == (1, 1)
        assert os.listdir(path) == ["in it"]
        assert files_of(directory, ".tmp") == []


class TestTime:
    @pytest.mark.parametrize(
        ("expires_in", "most"), [(0, 6), (-5, 6), (1, 6), (315_360_000, 1), (1e300, 1), (None, 1), ("soon", 1)]
    )
    def test_of_any_length_that_a_token_is_given_loses_no_call(self, ask, sandbox, healed, expires_in, most):
        sandbox.answer_token_requests(*[Answer.token(expires_in=expires_in)] * most)
        assert ask(sessions=2)[0] in range(1, most + 1)
        sandbox.reset()
        healed()

    def test_that_jumps_by_days_costs_a_token_request_at_the_most(self, directory):
        """The clock of the host, that is, and two processes on it; the server's goes on as it should."""
        server, offset, issued = [1_000_000.0], [0.0], []

        def clock():
            return server[0] + offset[0]

        def fetch():
            issued.append(server[0])
            return Token(f"t{len(issued)}", clock(), clock() + 3600)

        def takes(token):
            return server[0] < issued[int(token.access_token[1:]) - 1] + 3600

        def call(source):
            token = source.token()
            if not takes(token):
                token = source.token(rejected=token.access_token)
            assert takes(token)
            source.accept(token.access_token)

        sources = [TokenSource(fetch, FileStore(directory), "key", clock=clock) for _ in range(2)]
        steps = [0, DAY, -DAY, -DAY, DAY, DAY, -DAY, 0]
        for step in steps:
            offset[0] += step
            before = len(issued)
            for source in sources:
                call(source)
            assert len(issued) <= before + 1
            for _ in range(4):
                server[0] += 1000
                for source in sources:
                    call(source)
        assert len(issued) <= len(steps) * (4000 / 3600 + 1) + 1

    @pytest.mark.parametrize("step", [-DAY, -1.0, DAY])
    @pytest.mark.parametrize("who", ["the one that fetched it", "another one"])
    def test_that_steps_in_a_probation_does_not_prolong_it(self, directory, who, step):
        """A token that replaced a refused one may be replaced at once where nobody can tell its age any more."""
        now, issued = [1_000_000.0], []

        def fetch():
            issued.append(f"t{len(issued) + 1}")
            return Token(issued[-1], now[0], now[0] + 30 * DAY)

        sources = [TokenSource(fetch, FileStore(directory), "key", clock=lambda: now[0]) for _ in range(2)]
        for source in sources:
            assert source.token().access_token == "t1"
        for source in sources:
            assert source.token(rejected="t1").access_token == "t2"
        for source in sources:
            assert source.token(rejected="t2") is None
        now[0] += step
        source, other = sources if who == "the one that fetched it" else sources[::-1]
        assert source.token(rejected="t2").access_token == "t3"
        assert source.token(rejected="t3") is None  # its own probation is counted from the new time on
        assert other.token().access_token == "t3"
        assert len(issued) == 3

    @pytest.mark.parametrize("written", [-DAY, DAY])
    def test_that_stepped_since_a_writer_was_killed_keeps_nothing_of_it(self, directory, written):
        """By its time, what it left is of yesterday, or of tomorrow."""
        files, token = FileStore(directory), Token("t", 0.0, 1.0)
        assert fate(lambda: DyingStore(directory, "save", "rename").save("fee1900d" * 5, token)) == -signal.SIGSYS
        (path,) = files_of(directory, ".tmp")
        files.save("fee1900d" * 5, token)
        assert files_of(directory, ".tmp") == [path]  # of now: it may be one that is being written
        os.utime(path, (time.time() + written,) * 2)
        files.save("fee1900d" * 5, token)
        assert endings(directory) == ["json"]


class TestAFork:
    #: A thread begins a token request; at a line, the process forks; at another, the child makes a call of its own.
    PARENT = """if True:
        import logging, os, signal, sys, threading, warnings
        from aritma_session import AritmaSession
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python 3.12 and later have for such a fork
        logging.basicConfig(level='INFO', format='%(message)s', stream=sys.stdout)
        session = AritmaSession()
        threading.Thread(target=session.get, args=sys.argv[1:], daemon=True).start()
        sys.stdin.readline()
        child = os.fork()
        if child:
            print("child", child, flush=True)
            signal.pause()
        signal.alarm(50)
        sys.stdin.readline()
        print(session.get(sys.argv[1], timeout=30).status_code, flush=True)
        os._exit(0)
    """

    def test_of_a_process_that_is_killed_with_the_lock_has_no_part_in_it(
        self, environ, sandbox, echo, start, revoke, healed
    ):
        sandbox.token_delay = 20.0
        parent = start(self.PARENT, echo)
        wait_for(lambda: sandbox.counts.token_requests == 1)
        parent.stdin.write("fork\n")
        parent.stdin.flush()
        word, child = parent.stdout.readline().split()
        try:
            assert word == "child"
            parent.kill()
            parent.wait()
            sandbox.token_delay = 0.0
            said = start(CALLER, echo).communicate(timeout=50)[0].splitlines()
            assert said[0].startswith("fetched")
            assert said[-1] == "200"
            revoke()
            parent.stdin.write("go on\n")
            parent.stdin.flush()
            said = parent.stdout.read().splitlines()  # the child has the same pipes
            assert said[-1] == "200"
            assert not [line for line in said if "waiting" in line]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        healed()

    #: A thread is in the middle of an import when the process forks, or would be.
    IMPORTING = """if True:
        import importlib.abc, json, os, signal, sys, threading, warnings
        from aritma_session import AritmaSession
        from requests.adapters import HTTPAdapter
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python 3.12 and later have for such a fork
        from aritma_session import stores
        from aritma_session.stores import locks
        url, module = sys.argv[1:]
        if module != "requests_oauthlib":
            stores._LINUX = locks._FCNTL = False  # what other systems need
        entered, forked = threading.Event(), threading.Event()

        class Slowly(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name == module:
                    entered.set()
                    forked.wait(0.5)

        class Afterwards(HTTPAdapter):
            def send(self, *arguments, **options):  # what others hold amid a handshake is not what this is about
                forked.wait(20)
                return super().send(*arguments, **options)

        def call():
            with AritmaSession() as session:
                session.mount("https://", Afterwards())
                return session.get(url, timeout=30).status_code

        sys.meta_path.insert(0, Slowly())
        thread = threading.Thread(target=call)
        thread.start()
        assert entered.wait(20)
        child = os.fork()
        if child == 0:
            forked = threading.Event()
            forked.set()
            signal.alarm(30)
            os._exit(call() != 200)
        forked.set()
        thread.join()
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
    """

    @pytest.mark.parametrize("module", ["platformdirs", "filelock", "requests_oauthlib"])
    def test_does_not_come_in_the_middle_of_an_import(self, environ, echo, start, monkeypatch, module):
        # The child is not to find what the parent has fetched, where it is to ask for itself.
        monkeypatch.setenv("ARITMA_CACHE", "memory" if module == "requests_oauthlib" else "file")
        assert results([start(self.IMPORTING, echo, module)]) == [0]
