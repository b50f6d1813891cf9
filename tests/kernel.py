"""What the kernel alone can do to a process: fail its system calls, end it in one, lay a disk over a directory.

All of it is done to a fork of the test run, and ends with that. Linux only.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import select
import signal
import struct
import sys
import traceback

import pytest

from helpers import fork

linux = pytest.mark.skipif(sys.platform != "linux", reason="seccomp, mounts and capabilities are Linux's")

#: The numbers of system calls, by machine; a machine may lack the older one of two that do the same.
CALLS = {
    "x86_64": {
        "mkdir": (83, 258),
        "open": (2, 257),
        "flock": (73,),
        "fchmod": (91,),
        "rename": (82, 264, 316),
        "unlink": (87, 263),
    },
    "aarch64": {"mkdir": (34,), "open": (56,), "flock": (32,), "fchmod": (52,), "rename": (38, 276), "unlink": (35,)},
}

#: From <sys/prctl.h>, <linux/seccomp.h>, <linux/capability.h>, <linux/sched.h> and <sys/mount.h>.
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
KILL_PROCESS, ERRNO, ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
CAPABILITY_VERSION_3 = 0x2008_0522
CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
MS_RDONLY, MS_REMOUNT, MS_REC, MS_PRIVATE = 1, 32, 16384, 1 << 18


def told(work, seconds=50.0):
    """What some work gives, as JSON has it, in a fork of this process; a fork that says nothing for so long hangs.

    The fork is killed at its end: what a test run does when it ends may not be possible in there.
    """
    reading, writing = os.pipe()
    child = fork(lambda: _tell(writing, work))
    os.close(writing)
    with open(reading) as pipe:
        spoke = select.select([pipe], [], [], seconds)[0]
        if not spoke:
            os.kill(child, signal.SIGKILL)
        text = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert spoke, f"nothing within {seconds:g} s"
    assert text, f"the child ended with {status}"
    done, value = json.loads(text)
    assert done, value
    return value


def _tell(writing, work):
    try:
        outcome = True, work()
    except BaseException:  # noqa: BLE001  # the parent raises it
        outcome = False, traceback.format_exc()
    os.write(writing, json.dumps(outcome).encode())
    os.kill(os.getpid(), signal.SIGKILL)


def fate(work, seconds=50.0):
    """The exit status, or the signal as a negative number, that a fork ends with which does some work."""
    child = fork(lambda: bool(work()))
    descriptor = os.pidfd_open(child)
    try:
        if not select.select([descriptor], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refuse(call, number):
    """Let a system call of this process fail from now on, with this error number, without being done."""
    _filter(call, ERRNO | number)


def die_in(call):
    """Let this process be killed, as by SIGKILL, the next time that it enters a system call."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # which this way of dying would leave
    _filter(call, KILL_PROCESS)


def _filter(call, action):
    """Install a program of the kernel's own kind: load the call's number, compare it with each, allow what is left."""
    numbers = CALLS[platform.machine()][call]
    program = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for index, number in enumerate(numbers):
        program.append(struct.pack("HBBI", 0x15, len(numbers) - index, 0, number))
    program += [struct.pack("HBBI", 0x06, 0, 0, ALLOW), struct.pack("HBBI", 0x06, 0, 0, action)]
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    _libc("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(header), 0, 0)


def be_ordinary():
    """Give up all that lets root pass by owners and modes; the account stays the same."""
    header = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITY_VERSION_3, 0))
    _libc("capset", header, ctypes.create_string_buffer(24))


def mount_memory(directory, options):
    """Lay an empty file system in memory over a directory, for this process alone."""
    account, group = os.geteuid(), os.getegid()
    _libc("unshare", CLONE_NEWNS | (CLONE_NEWUSER if account else 0))
    if account:  # may do this among its own alone
        maps = {"setgroups": "deny", "uid_map": f"{account} {account} 1", "gid_map": f"{group} {group} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", directory, "tmpfs", 0, options)


def set_read_only(directory, wanted):
    """Mount what :func:`mount_memory` laid over a directory anew, read-only or not."""
    _mount(None, directory, None, MS_REMOUNT | (MS_RDONLY if wanted else 0))


def _mount(source, target, kind, flags, options=None):
    texts = (text if text is None else str(text).encode() for text in (source, target, kind))
    _libc("mount", *texts, ctypes.c_ulong(flags), options and options.encode())


def _libc(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
