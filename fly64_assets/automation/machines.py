"""Which machine or container a run's processes are on, and whether those of another one have ended.

A container has processes of its own, which cannot be seen from another one. So every process that loads the code
location shares a lock on a file of its machine's name in the folder of the Dagster instance, as long as it lives.
If that lock can be had alone, no such process is left.
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
WORDS: Final = 5
"""Of a note: host name, boot, process namespace, run, lock."""
_held: dict[Path, int] = {}


def this_machine() -> str:
    """Host name, boot and process namespace: a container has its own processes, and may have another's host name."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def note_this_machine() -> int | None:
    """Share the lock of this machine until this process ends.

    Returns the number of the locked file; None where there is no instance folder, or no lock in it.
    """
    path = _path(this_machine())
    with suppress(OSError):
        if path not in _held:
            if not instance_folder().is_dir():
                return None
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            except OSError:
                os.close(descriptor)
                raise
            _held[path] = descriptor
        return os.fstat(_held[path]).st_ino
    return None


def machine_note(run_id: str) -> str:
    """What a run notes of where it is: the machine, the run itself, and the file that its processes have locked.

    A run that is begun again inherits the note of its predecessor, which :func:`noted_machine` tells by the run.
    """
    return f"{this_machine()} {run_id} {note_this_machine() or 'unlocked'}"


def noted_machine(note: str, run_id: str) -> str:
    """The machine in a run's own note, as :func:`this_machine` names it; empty where there is none."""
    words = note.split()
    return " ".join(words[:3]) if len(words) == WORDS and words[3] == run_id else ""


def has_ended(note: str, run_id: str) -> bool:
    """Whether no process of the other machine that a run has noted can be at work any more.

    So it is after a restart of this machine, or of a container that used the same instance folder. False for what
    cannot be known: a note of another run, a lock that was not held or is in another folder.
    """
    machine = noted_machine(note, run_id)
    if machine in ("", this_machine()):
        return False
    try:
        descriptor = os.open(_path(machine), os.O_RDONLY)
    except OSError:
        return False
    try:
        if str(os.fstat(descriptor).st_ino) != note.rsplit(maxsplit=1)[-1]:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _path(machine: str) -> Path:
    return instance_folder() / FOLDER / hashlib.sha256(machine.encode()).hexdigest()[:16]
