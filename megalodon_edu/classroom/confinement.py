"""A process takes away from itself what a student's answers do not need, before it reads any of them.

On Linux: Landlock leaves only the libraries to be read, no file to be written, no signal to be sent; a seccomp filter
refuses new processes, sockets, tracing, and everything else that reaches another process or file; capabilities are
dropped. On every system: no file can grow, and the memory is limited. Nothing of this can be undone from inside.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
import threading
from collections.abc import Iterable
from typing import NamedTuple, TextIO

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ = 0b1101  # execute (a library), read a file, list a folder
READ_FILE = 0b0101
RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights a version of Landlock knows, from the version on that is the key."""

NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
EPERM, ENOSYS = 1, 38
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
CLONE_THREAD = 0x00010000

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

REFUSED: dict[str, tuple[int | None, int | None]] = {
    # new processes and programs
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    # signals to others, and looking into them
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "kcmp": (312, 272), "perf_event_open": (298, 241),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # the network, and memory that no limit counts
    "socket": (41, 198), "socketpair": (53, 199), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # properties of files, which Landlock does not guard
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "truncate": (76, 45), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    # the system itself
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "bpf": (321, 280), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
}  # fmt: skip
CLONE, CLONE3, PRLIMIT, FCNTL, IOCTL = (56, 220), (435, 435), (302, 261), (72, 25), (16, 29)
OWNER_OF_SIGNALS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: a pipe that sends a signal to anybody
OWNER_BY_IOCTL = (0x8901, 0x8902)

MOST_OPEN_FILES = 256


class Guards(NamedTuple):
    """What is guarded from a student's answers on this machine."""

    files: bool
    """Nothing but libraries can be read: not the grader's package, no other notebook; and nothing written."""

    processes: bool
    """No new process, no signal to another one, no network."""

    memory: bool
    """The system itself refuses more memory than allowed; else the grader looks and ends the process."""


def confine(readable: Iterable[str]) -> Guards:
    """Take the rights away, all but reading the paths given. To be called before any thread is started."""
    if threading.active_count() > 1:
        raise RuntimeError("a process must be confined before it starts threads")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_OPEN_FILES, MOST_OPEN_FILES))
    if sys.platform != "linux":
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))  # counts processes there, and this one exists
        return Guards(False, False, False)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return Guards(False, False, True)
    files = _landlock(libc, readable)
    _drop_capabilities(libc)
    return Guards(files, _seccomp(libc), True)


def own_size() -> TextIO | None:
    """The file that tells this process's size, opened while that is still allowed; only Linux needs it."""
    return open("/proc/self/statm", encoding="ascii") if sys.platform == "linux" else None


def limit_memory(more: int, size: TextIO | None) -> None:
    """Allow so many bytes of address space more than are in use now; closes the file that `own_size` opened."""
    if size is not None:
        with size:
            used = int(size.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def _landlock(libc: ctypes.CDLL, readable: Iterable[str]) -> bool:
    version = libc.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    rights = max(count for since, count in RIGHTS.items() if since <= version)
    # Connecting by TCP and binding, from version 4 on; sockets of others and signals, from version 6 on.
    rules = struct.pack("QQQ", 2**rights - 1, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    rules = rules[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = libc.syscall(LANDLOCK_CREATE, rules, len(rules), 0)
    if ruleset < 0:
        return False
    for path in readable:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # what is not there need not be read
        rule = struct.pack("=Qi", READ if os.path.isdir(path) else READ_FILE, place)
        libc.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0)
        os.close(place)
    done = libc.syscall(LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)
    return bool(done == 0)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Also where the grader is root, the answers are nobody special."""
    header, nothing = struct.pack("II", 0x20080522, 0), bytes(24)
    libc.capset(header, nothing)


def _seccomp(libc: ctypes.CDLL) -> bool:
    known = ARCHITECTURES.get(platform.machine())
    if known is None or sys.maxsize < 2**32:
        return False
    code = b"".join(struct.pack("HBBI", *step) for step in _filter(*known))
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(SET_SECCOMP, FILTER, program, 0, 0) == 0)


def _filter(architecture: int, column: int) -> list[tuple[int, int, int, int]]:
    """The filter's steps: (operation, jump if so, jump if not, number)."""
    refuse = (RETURN, 0, 0, ERRNO | EPERM)
    number, low_half = 0, [16 + 8 * place for place in range(3)]
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, number)]
    if column == 0:
        steps += [(AT_LEAST, 0, 1, 0x40000000), refuse]  # the second set of numbers of x86
    for numbers in REFUSED.values():
        if (refused := numbers[column]) is not None:
            steps += [(EQUAL, 0, 1, refused), refuse]
    steps += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, ERRNO | ENOSYS)]  # the C library then takes clone
    steps += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, low_half[0]), (ANY_BIT, 1, 0, CLONE_THREAD), refuse,
              (RETURN, 0, 0, ALLOW)]  # fmt: skip
    steps += [(EQUAL, 0, 4, PRLIMIT[column]), (LOAD, 0, 0, low_half[0]), (EQUAL, 1, 0, 0), refuse,
              (RETURN, 0, 0, ALLOW)]  # fmt: skip
    for call, commands in ((FCNTL, OWNER_OF_SIGNALS), (IOCTL, OWNER_BY_IOCTL)):
        checks = [step for command in commands for step in ((EQUAL, 0, 1, command), refuse)]
        steps += [(EQUAL, 0, len(checks) + 2, call[column]), (LOAD, 0, 0, low_half[1]), *checks, (RETURN, 0, 0, ALLOW)]
    return [*steps, (RETURN, 0, 0, ALLOW)]
