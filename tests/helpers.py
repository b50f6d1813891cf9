"""What several test files need."""

from __future__ import annotations

import base64
import concurrent.futures
import gc
import io
import json
import os
import subprocess
import sys
import threading
import time
import types
from urllib.parse import quote, quote_plus


def wait_for(condition, seconds=20.0):
    """Wait until a condition holds; the value that it gives then."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {condition}"
        time.sleep(0.005)
    return value


def said(caplog):
    """What stands in the log under this library's name: levels and messages."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "aritma_session"]


def at_once(count, work):
    """What some work gives in each of so many threads, which begin at the same moment."""
    barrier = threading.Barrier(count)

    def begin(_):
        barrier.wait(20)
        return work()

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def fork(work):
    """Do some work in a fork of this process, which never comes back into the test run: its process id.

    From one thread at a time: filelock, from release 4.2 on, refuses a fork that meets another.
    """
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = int(work())
        finally:
            os._exit(status)
    return child


def outcome(child):
    """The whole number that the work of a fork gave."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work):
    """The whole number that some work gives in a fork of this process."""
    return outcome(fork(work))


def results(processes, seconds=50.0):
    """What each process printed, read as JSON, once all have ended well."""
    outputs = [process.communicate(timeout=seconds)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(output) for output in outputs]


def on_terminal(*arguments, **variables):
    """The exit status of the command, and what it writes, as a terminal gets it; its input ends at once."""
    import pty

    leader, follower = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "NO_COLOR": "", **variables}
    line = [sys.executable, "-m", "aritma_session", *arguments]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=environ)
    os.close(follower)
    written = b""
    try:
        while piece := _read_terminal(leader):
            written += piece
    finally:
        os.close(leader)  # as a terminal that is closed
        status = process.wait(20)
    return status, written.decode().replace("\r\n", "\n")


def _read_terminal(leader):
    try:
        return os.read(leader, 65536)
    except OSError:  # Linux: nobody has the other end open any more
        return b""


def sent_authorization(sandbox, path=None):
    """The Authorization headers that the server received, those of token requests and discovery aside."""
    return [
        request.headers.get("authorization")
        for request in sandbox.requests
        if request.kind != "token" and "/.well-known/" not in request.path and path in (None, request.path)
    ]


def reachable(*roots):
    """All texts that can be reached from objects, code and classes aside.

    Through closures, defaults, bound methods, generators, slots and buffers too, and not through weak references.
    """
    opaque = (type, types.ModuleType, types.FrameType, types.TracebackType, types.CodeType)
    seen, todo = {}, list(roots)
    while todo:
        found = todo.pop()
        if id(found) in seen or isinstance(found, opaque):
            continue
        seen[id(found)] = found
        if isinstance(found, types.FunctionType):  # what is its own, and not the globals of its module
            todo.extend([found.__closure__, found.__defaults__, found.__kwdefaults__, found.__dict__])
            continue
        if isinstance(found, types.MethodType):
            todo.append(found.__self__)
        if isinstance(found, types.GeneratorType) and found.gi_frame is not None:
            todo.extend(found.gi_frame.f_locals.values())
        if isinstance(found, BaseException):  # these have no referents of their own on all Pythons
            todo.extend([found.args, vars(found), found.__cause__, found.__context__])
        if isinstance(found, io.BytesIO) and not found.closed:
            todo.append(found.getvalue())
        todo.extend(gc.get_referents(found))
    return [found for found in seen.values() if isinstance(found, (str, bytes, bytearray))]


def holding(objects, *secrets):
    """The texts that hold a secret, as it is or as a person would read it from."""
    written = {form for secret in secrets for form in writings(secret)}
    texts = (found if isinstance(found, str) else bytes(found).decode("latin-1") for found in objects)
    return [text for text in texts if any(form in text for form in written)]


def writings(secret):
    """The ways in which a secret may stand in a text."""
    data = secret.encode()
    yield from (secret, secret[::-1], secret[:-1], secret.upper(), quote(secret), quote_plus(secret))
    yield from (data.decode("latin-1"), secret.encode("utf-16-le").decode("latin-1"), json.dumps(secret)[1:-1])
    yield from (data.hex(), data.hex().upper(), data.hex()[::-1], data[::-1].hex(), ascii(secret)[1:-1])
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # Without the first and last letters, which depend on what stands before and behind.
            whole = encode(bytes(shift) + data).decode().rstrip("=")
            yield whole[shift and shift + 1 : -1]
