"""One token for many processes, real ones: started cold, revoked, killed, forked, pooled."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import os
import signal
import time

import pytest
import requests

from aritma_session import AritmaSession
from aritma_session.sandbox import Answer

from helpers import at_once, fork, in_child, outcome, results, sent_authorization, wait_for

#: Make the calls of one process between a sign that it is ready and the sign to go; print how they were answered.
WORKER = """if True:
    import json, sys
    from aritma_session import AritmaSession
    url, calls = sys.argv[1], int(sys.argv[2])
    with AritmaSession() as session:
        print("ready", flush=True)
        sys.stdin.readline()
        statuses = [session.get(url, timeout=30).status_code for _ in range(calls)]
    print(json.dumps(statuses))
"""

#: The same, saying what happens to its token.
TELLING = WORKER.replace(
    "import json, sys",
    "import json, logging, sys; logging.basicConfig(level='INFO', format='%(message)s', stream=sys.stdout)",
)


def begin(start, count, url, calls, code=WORKER):
    """Let so many processes begin at the same moment, once all of them are ready."""
    processes = [start(code, url, calls) for _ in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    began = time.time()
    for process in processes:
        process.stdin.write(f"{began}\n")
        process.stdin.flush()
    return processes


def run(start, count, url, calls):
    """The statuses that each of so many processes saw."""
    return results(begin(start, count, url, calls))


def test_8_cold_processes_make_one_token_request(environ, sandbox, echo, start):
    sandbox.token_delay = 0.1
    assert run(start, 8, echo, 1) == [[200]] * 8
    assert sandbox.counts.token_requests == 1
    assert [request.kind for request in sandbox.requests].count("discovery") == 1


def test_a_revocation_costs_one_token_request_and_no_call(environ, sandbox, echo, start):
    halfway = WORKER.replace("for _ in range(calls)]", "for number in range(calls) if number != 40 or input()]")
    processes = begin(start, 8, echo, 50, code=halfway)
    wait_for(lambda: sandbox.counts.calls >= 100)
    sandbox.revoke_all()
    for process in processes:  # none makes its last calls before the revocation
        process.stdin.write("go on\n")
        process.stdin.flush()
    assert results(processes) == [[200] * 50] * 8
    assert sandbox.counts.token_requests == 2
    assert sandbox.counts.refused >= 1


def test_an_expiry_costs_one_token_request(environ, sandbox, echo, start):
    sandbox.answer_token_requests(Answer.token(lifetime=1))
    sandbox.token_delay = 0.1
    paced = WORKER.replace("for _ in range(calls)]", "for _ in range(calls) if not __import__('time').sleep(0.05)]")
    assert results(begin(start, 4, echo, 30, code=paced)) == [[200] * 30] * 4
    assert sandbox.counts.token_requests == 2


def test_401_for_ever_costs_two_token_requests(environ, sandbox, echo, start):
    sandbox.refuse_all = True
    assert run(start, 8, echo, 20) == [[401] * 20] * 8
    assert sandbox.counts.token_requests == 2


#: Call for so many seconds from the sign to go to the last answer; print the answers and the longest time of one.
LASTING = """if True:
    import collections, json, sys, time
    from aritma_session import AritmaSession
    url, seconds = sys.argv[1], float(sys.argv[2])
    statuses, longest = collections.Counter(), 0.0
    with AritmaSession() as session:
        print("ready", flush=True)
        end = float(sys.stdin.readline()) + seconds
        while (began := time.time()) + longest < end:
            statuses[session.get(url, timeout=30).status_code] += 1
            longest = max(longest, time.time() - began)
    print(json.dumps([statuses, longest]))
"""


@pytest.mark.soak
@pytest.mark.parametrize("status", [None, "401"], ids=["everywhere", "on one path"])
def test_401_for_ever_costs_20_processes_two_token_requests_in_half_a_minute(environ, sandbox, echo, start, status):
    sandbox.refuse_all = status is None
    url = f"{sandbox.api_url}/status/{status}" if status else echo
    told = results(begin(start, 20, url, 30, code=LASTING), seconds=120)
    assert sandbox.counts.token_requests == 2
    for statuses, longest in told:
        assert set(statuses) == {"401"}
        assert statuses["401"] > 1
        assert longest < 30


def test_32_cold_threads_make_one_token_request(session, sandbox, echo):
    sandbox.token_delay = 0.1
    assert at_once(32, lambda: session.get(echo).status_code) == [200] * 32
    assert sandbox.counts.token_requests == 1
    sandbox.revoke_all()
    assert at_once(32, lambda: session.get(echo).status_code) == [200] * 32
    assert sandbox.counts.token_requests == 2
    assert None not in sent_authorization(sandbox)


def test_a_lock_holder_that_is_killed_stops_nobody(environ, sandbox, echo, start):
    sandbox.answer_token_requests(Answer.trickle(60))  # the first answer only
    (holder,) = begin(start, 1, echo, 1)
    wait_for(lambda: sandbox.counts.token_requests == 1)
    others = begin(start, 4, echo, 1, code=TELLING)
    for process in others:
        assert process.stdout.readline() == "another process is fetching a token: waiting for it\n"
    holder.kill()
    outputs = [process.communicate(timeout=50)[0].splitlines() for process in others]
    assert [lines[-1] for lines in outputs] == ["[200]"] * 4
    assert (
        sorted(lines[0].split(" that lives")[0] for lines in outputs)
        == ["fetched a token"] + ["took over a token from the cache"] * 3
    )
    assert sandbox.counts.token_requests == 2


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_lock_holder_that_is_stopped_keeps_others_waiting_within_the_bound(
    environ, sandbox, echo, start, session, caplog
):
    sandbox.answer_token_requests(Answer.trickle(60))  # the first answer only
    (holder,) = begin(start, 1, echo, 1)
    wait_for(lambda: sandbox.counts.token_requests == 1)
    holder.send_signal(signal.SIGSTOP)
    session.auth._source._lock_timeout = 0.2
    assert session.get(echo).status_code == 200
    assert "not waiting longer" in caplog.text


def test_8_processes_refresh_a_login_once_and_stay_logged_in(login, sandbox, echo, start):
    """Each refresh token is good for one use: whoever used an old one would log everybody out."""
    login(age=3600)
    sandbox.token_delay = 0.1
    for count in (1, 2):
        assert run(start, 8, echo, 1) == [[200]] * 8
        assert sandbox.counts.refreshes == sandbox.counts.token_requests == count
        sandbox.revoke_all()


def test_a_revocation_costs_8_processes_of_a_login_one_refresh(login, sandbox, echo, start):
    login()
    halfway = WORKER.replace("for _ in range(calls)]", "for number in range(calls) if number != 10 or input()]")
    processes = begin(start, 8, echo, 20, code=halfway)
    wait_for(lambda: sandbox.counts.calls >= 80)
    sandbox.revoke_all()
    for process in processes:
        process.stdin.write("go on\n")
        process.stdin.flush()
    assert results(processes) == [[200] * 20] * 8
    assert sandbox.counts.refreshes == sandbox.counts.token_requests == 1


def test_a_process_that_is_killed_before_its_token_request_leaves_the_login_good(login, sandbox, echo, start):
    login(age=3600)
    sandbox.answer("discovery", Answer.trickle(60))  # which comes first
    (holder,) = begin(start, 1, echo, 1)
    wait_for(lambda: any(request.kind == "discovery" for request in sandbox.requests))
    holder.kill()
    assert holder.wait(20) != 0
    assert sandbox.counts.token_requests == 0
    assert run(start, 2, echo, 1) == [[200]] * 2
    assert sandbox.counts.refreshes == sandbox.counts.token_requests == 1


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


def calls_of(session, url, name):
    """Make calls that each bear a name; 0 if each answer is the one to its own call."""
    for number in range(20):
        answer = session.get(url, params={"call": f"{name}.{number}"}, timeout=30)
        if answer.status_code != 200 or answer.json()["query"] != f"call={name}.{number}":
            return 1
    return 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("again", [lambda session: session, copy.copy], ids=["itself", "a copy made after the fork"])
def test_a_forked_session_goes_on_in_all_and_gives_each_its_own_answers(environ, session, sandbox, echo, again):
    """One warm connection, which no child may use: its answers would go to whoever reads first."""
    session.get(echo)
    sandbox.revoke_all()
    children = [fork(lambda name=name: calls_of(again(session), echo, name)) for name in "abcd"]
    mine = calls_of(session, echo, "parent")
    assert [outcome(child) for child in children] == [0] * 4
    assert mine == 0
    assert sandbox.counts.token_requests == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_session_may_have_an_adapter_that_cannot_be_closed(environ, session, sandbox, echo):
    session.get(echo)
    session.mount("https://other.example", requests.adapters.BaseAdapter())
    assert in_child(lambda: calls_of(session, echo, "child")) == 0
    del session.adapters["https://other.example"]  # which the end of any session would meet


def test_a_warm_process_imports_nothing_that_only_a_token_request_needs(environ, sandbox, echo, session, start):
    session.get(echo)
    code = """if True:
        import json, sys
        from aritma_session import AritmaSession
        with AritmaSession() as session:
            session.get(sys.argv[1]).raise_for_status()
        heavy = ["oauthlib", "requests_oauthlib", "filelock", "redis", "jwt", "cryptography", "rich", "trustme"]
        heavy += ["platformdirs", "aritma_session.token_request", "aritma_session.answers", "aritma_session.redaction"]
        heavy += ["aritma_session.metadata", "aritma_session.discovery", "aritma_session.outgoing"]
        print(json.dumps([name for name in heavy if name in sys.modules]))
    """
    assert results([start(code, echo)]) == [[]]
    assert sandbox.counts.token_requests == 1
