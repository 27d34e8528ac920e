"""Which machine or container a run's processes are on, and whether those of another container have ended.

A container has processes of its own, that cannot be seen from another one. So every process that loads the code
location shares a lock on a file of its machine's name in the folder of the Dagster instance, as long as it lives: on
one kernel, whoever gets that lock alone knows that no such process is left.
"""

import fcntl
import hashlib
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from fly64_assets.resources.environment import instance_folder

FOLDER: Final = "machines"
_held: dict[Path, int] = {}


def this_machine() -> str:
    """Host name, boot and process namespace: a container has its own processes, and may have another's host name."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def note_this_machine() -> None:
    """Share the lock of this machine until this process ends; nothing where there is no instance or no lock."""
    path = _path(this_machine())
    if path in _held or not instance_folder().is_dir():
        return
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _held[path] = descriptor
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def has_ended(machine: str) -> bool:
    """Whether no process of another ``machine``, as :func:`this_machine` has named it, can be at work any more.

    So it is after a restart of this machine, or of a container on it that used the same instance folder. False for what
    cannot be known.
    """
    noted, now = machine.split(), this_machine().split()
    if not len(noted) == len(now) == 3 or noted == now:
        return False
    if noted[1] != now[1]:
        return noted[0] == now[0]
    try:
        descriptor = os.open(_path(machine), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _path(machine: str) -> Path:
    return instance_folder() / FOLDER / hashlib.sha256(machine.encode()).hexdigest()[:16]
