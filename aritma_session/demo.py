"""Let several processes share one token through an expiry and a revocation, and count what that costs."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import requests

from .session import AritmaSession

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Barrier, Event

    from .sandbox import Sandbox

__all__ = ["run"]

#: Calls that each process makes, and seconds between two of them.
CALLS, PAUSE = 40, 0.05

#: Seconds that the first token of a cache lives; the later ones live an hour.
FIRST_LIFETIME = 1

#: The share of the calls after which all tokens are revoked, and the one after which a process waits until they are, so
#: that each meets the revocation. The first tokens have expired by then: the pauses alone are longer than their life.
REVOKED_AFTER, HELD_AFTER = 0.7, 0.9

#: Seconds that the processes may take to start, and a run in all.
LONGEST_START, LONGEST_RUN = 60.0, 120.0

_SHARED, _UNSHARED = "one token for all", "a token for each"

#: Whether signals can be held back: not on Windows.
_MASKS = hasattr(signal, "pthread_sigmask")

#: Seconds between two looks at the counters.
_LOOK = 0.01


@dataclasses.dataclass(frozen=True)
class _Outcome:
    calls: int
    failed_calls: int
    token_requests: int


def run(processes: int, *, show: bool = True) -> dict[str, int]:
    """Run the work twice, with a shared cache and with a token for each process.

    :param processes: how many worker processes there are.
    :param show: whether to draw a progress bar and a table.
    :returns: ``processes``; ``calls`` of one run; ``failed_calls`` of both; ``token_requests`` of the run with a shared
        cache, and ``token_requests_unshared`` of the other.
    :raises ImportError: when the extra ``sandbox`` is not installed.
    """
    from .sandbox import Sandbox

    total = processes * CALLS
    with (
        _undisturbed(),
        _progress() if show else _silence() as bar,
        Sandbox() as sandbox,
        tempfile.TemporaryDirectory() as directory,
        _environment(sandbox.environ()),
    ):
        shared = _work(sandbox, processes, directory, first_tokens=1, advance=bar(_SHARED, total))
        unshared = _work(sandbox, processes, "memory", first_tokens=processes, advance=bar(_UNSHARED, total))
    if show:
        _print_table(processes, shared, unshared)
    return {
        "processes": processes,
        "calls": shared.calls,
        "failed_calls": shared.failed_calls + unshared.failed_calls,
        "token_requests": shared.token_requests,
        "token_requests_unshared": unshared.token_requests,
    }


def _work(
    sandbox: Sandbox, processes: int, cache: str, *, first_tokens: int, advance: Callable[[int], None]
) -> _Outcome:
    """Let the processes make their calls, while the first tokens expire and the later ones are revoked.

    :param cache: the ``cache`` of their sessions.
    :param first_tokens: how many tokens are fetched at the start.
    """
    from .sandbox import Answer

    sandbox.reset_counts()
    sandbox.answer_token_requests(*[Answer.token(lifetime=FIRST_LIFETIME)] * first_tokens)
    context = multiprocessing.get_context("spawn")
    start, revoked, answered = context.Barrier(processes + 1), context.Event(), context.Value("i")
    arguments = (f"{sandbox.api_url}/statements/acme", cache, start, revoked, answered)
    workers: list[SpawnProcess] = []
    _mask("SIG_BLOCK")  # again, since what the first of these needs has let them come
    try:
        with _uninterrupted():
            for _ in range(processes):
                worker = context.Process(target=_call, args=arguments, daemon=True)
                worker.start()
                workers.append(worker)
        with _disturbable():
            # Where it breaks, calls are missing in the end, and count as failed.
            with contextlib.suppress(threading.BrokenBarrierError):
                start.wait(LONGEST_START)
            _watch(sandbox, workers, 2 * first_tokens, revoked, advance)
    finally:
        for worker in workers:
            worker.kill()  # one that is done is not harmed
            worker.join()
    counts = sandbox.counts
    return _Outcome(processes * CALLS, processes * CALLS - answered.value, counts.token_requests)


def _watch(
    sandbox: Sandbox, workers: list[SpawnProcess], tokens: int, revoked: Event, advance: Callable[[int], None]
) -> None:
    """Revoke the tokens midway, while they are in use, once so many were issued."""
    deadline = time.monotonic() + LONGEST_RUN
    while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
        counts = sandbox.counts
        if counts.tokens >= tokens and counts.calls >= REVOKED_AFTER * CALLS * len(workers) and not revoked.is_set():
            sandbox.revoke_all()
            revoked.set()
        advance(counts.calls)
        time.sleep(_LOOK)
    advance(len(workers) * CALLS)


def _call(url: str, cache: str, start: Barrier, revoked: Event, answered: Synchronized[int]) -> None:
    """Make the calls of one process, and count those that were answered."""
    with AritmaSession(cache=cache) as session:
        start.wait(LONGEST_START)
        for number in range(CALLS):
            if number >= int(HELD_AFTER * CALLS):
                revoked.wait(LONGEST_START)
            try:
                session.get(url, timeout=LONGEST_START).raise_for_status()
            except requests.RequestException as error:
                print(f"a call failed: {error}", file=sys.stderr)
            else:
                with answered.get_lock():
                    answered.value += 1
            time.sleep(PAUSE)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold interrupts back in this block: amid the making of what is to be taken away, one would leave it behind."""
    _mask("SIG_BLOCK")
    try:
        yield
    finally:
        _mask("SIG_UNBLOCK")


@contextlib.contextmanager
def _disturbable() -> Iterator[None]:
    """Let interrupts come again, those that were held back first."""
    try:
        _mask("SIG_UNBLOCK")
        yield
    finally:
        _mask("SIG_BLOCK")


def _mask(how: str) -> None:
    if _MASKS and threading.current_thread() is threading.main_thread():
        signal.pthread_sigmask(getattr(signal, how), {signal.SIGINT, signal.SIGTERM})


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let the processes that are started leave Ctrl-C, which a terminal sends to all, to this one."""
    if _MASKS or threading.current_thread() is not threading.main_thread():  # no other may say what a signal does
        yield  # and where signals are held back, those that are started here hold them back too
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Let the processes that are started find these variables, and none that would lead them elsewhere."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("ARITMA_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Draw a bar for each run; on standard error, so that the table can be kept."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ModuleNotFoundError as missing:
        message = 'the demo needs rich, which is not installed: pip install "aritma-session[sandbox]"'
        raise ImportError(message, name=missing.name) from missing

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("calls")
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def bar(description: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(f"{description:<22}", total=total)
            return lambda done: progress.update(task, completed=done)

        yield bar


@contextlib.contextmanager
def _silence() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    yield lambda *_: lambda _: None


def _print_table(processes: int, shared: _Outcome, unshared: _Outcome) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{processes} processes; one token expires, one is revoked midway")
    table.add_column()
    for name in (_SHARED, _UNSHARED):
        table.add_column(name, justify="right")
    for field in dataclasses.fields(_Outcome):
        row = (str(getattr(outcome, field.name)) for outcome in (shared, unshared))
        table.add_row(field.name.replace("_", " "), *row)
    Console().print(table)
