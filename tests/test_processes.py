"""One token for many processes, real ones: started cold, revoked, killed, forked, pooled."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import os
import signal
import threading

import pytest

from aritma_session import AritmaSession
from aritma_session.sandbox import Answer

from helpers import results, wait_for

#: Make the calls of one process between a sign that it is ready and the sign to go; print how they were answered.
WORKER = """if True:
    import json, sys
    from aritma_session import AritmaSession
    url, calls = sys.argv[1], int(sys.argv[2])
    with AritmaSession() as session:
        print("ready", file=sys.stderr, flush=True)
        sys.stdin.readline()
        statuses = [session.get(url, timeout=30).status_code for _ in range(calls)]
    print(json.dumps(statuses))
"""


def run(start, count, url, calls, meanwhile=lambda: None):
    """Let so many processes begin at the same moment; the statuses that each of them saw."""
    processes = [start(WORKER, url, calls) for _ in range(count)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    meanwhile()
    return results(processes)


def test_8_cold_processes_make_one_token_request(environ, sandbox, echo, start):
    sandbox.token_delay = 0.1
    assert run(start, 8, echo, 1) == [[200]] * 8
    assert sandbox.counts.token_requests == 1


def test_a_revocation_costs_one_token_request_and_no_call(environ, sandbox, echo, start):
    def revoke():
        wait_for(lambda: sandbox.counts.calls >= 100)
        sandbox.revoke_all()

    assert run(start, 8, echo, 50, meanwhile=revoke) == [[200] * 50] * 8
    assert sandbox.counts.token_requests == 2
    assert sandbox.counts.refused >= 1


def test_an_expiry_costs_one_token_request(environ, sandbox, echo, start):
    sandbox.answer_token_requests(Answer.token(lifetime=1))
    paced = WORKER.replace("for _ in range(calls)]", "for _ in range(calls) if not __import__('time').sleep(0.05)]")
    processes = [start(paced, echo, 30) for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert results(processes) == [[200] * 30] * 4
    assert sandbox.counts.token_requests == 2


def test_401_for_ever_costs_two_token_requests(environ, sandbox, echo, start):
    sandbox.refuse_all = True
    assert run(start, 8, echo, 20) == [[401] * 20] * 8
    assert sandbox.counts.token_requests == 2


def test_32_cold_threads_make_one_token_request(session, sandbox, echo):
    sandbox.token_delay = 0.1
    barrier = threading.Barrier(32)

    def call(_):
        barrier.wait(20)
        return session.get(echo).status_code

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert list(pool.map(call, range(32))) == [200] * 32
        assert sandbox.counts.token_requests == 1
        sandbox.revoke_all()
        assert list(pool.map(call, range(32))) == [200] * 32
    assert sandbox.counts.token_requests == 2


def test_a_lock_holder_that_is_killed_stops_nobody(environ, sandbox, echo, start):
    sandbox.token_delay = 60
    holder = start(WORKER, echo, 1)
    holder.stdin.write("go\n")
    holder.stdin.flush()
    wait_for(lambda: sandbox.counts.token_requests == 1)
    sandbox.token_delay = 0
    others = [start(WORKER, echo, 1) for _ in range(4)]
    for process in others:
        process.stdin.write("go\n")
        process.stdin.flush()
    holder.kill()
    assert results(others) == [[200]] * 4
    assert sandbox.counts.token_requests == 2


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_lock_holder_that_is_stopped_keeps_others_waiting_within_the_bound(
    environ, sandbox, echo, start, session, caplog
):
    sandbox.token_delay = 60
    holder = start(WORKER, echo, 1)
    holder.stdin.write("go\n")
    holder.stdin.flush()
    wait_for(lambda: sandbox.counts.token_requests == 1)
    holder.send_signal(signal.SIGSTOP)
    sandbox.token_delay = 0
    session.auth._source._lock_timeout = 0.2
    assert session.get(echo).status_code == 200
    assert "not waiting longer" in caplog.text


@pytest.mark.parametrize("make", [str, lambda path: str(path / "no" / "such")], ids=["made", "missing"])
def test_a_cache_that_cannot_be_used_costs_a_warning_and_no_call(sandbox, echo, make, tmp_path, environ, caplog):
    (tmp_path / "file").write_text("in the way")
    with AritmaSession(cache=make(tmp_path / "file")) as session:
        for _ in range(3):
            assert session.get(echo).status_code == 200
    assert sandbox.counts.token_requests == 1
    assert [record.levelname for record in caplog.records if record.levelname == "WARNING"] == ["WARNING"]


def call(session, url):
    return session.get(url, timeout=30).status_code


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_one_session_serves_a_pool_of_processes(environ, session, sandbox, echo, method, monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=context) as pool:
        assert list(pool.map(call, [session] * 8, [echo] * 8)) == [200] * 8
    assert session.get(echo).status_code == 200
    assert sandbox.counts.token_requests == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_session_goes_on_in_both(environ, session, sandbox, echo):
    session.get(echo)
    sandbox.revoke_all()
    child = os.fork()
    if child == 0:
        # The connections of the parent are not the child's to use: that is so with any requests.Session.
        twin = copy.deepcopy(session)
        os._exit(0 if twin.get(echo, timeout=30).status_code == 200 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert session.get(echo).status_code == 200
    assert sandbox.counts.token_requests == 2


def test_a_warm_process_imports_nothing_that_only_a_token_request_needs(environ, sandbox, echo, session, start):
    session.get(echo)
    code = """if True:
        import json, sys
        from aritma_session import AritmaSession
        with AritmaSession() as session:
            session.get(sys.argv[1]).raise_for_status()
        heavy = ["oauthlib", "requests_oauthlib", "filelock", "redis", "jwt", "cryptography", "rich", "trustme"]
        print(json.dumps([name for name in heavy if name in sys.modules]))
    """
    assert results([start(code, echo)]) == [[]]
    assert sandbox.counts.token_requests == 1
