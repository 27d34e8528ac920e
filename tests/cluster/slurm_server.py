"""A real Slurm on this machine: one node with two pretended GPUs, on ports and in a folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
GPUS = 2
SETTINGS = """
ClusterName=fly64
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=30
SlurmdTimeout=5
MinJobAge=600
OverTimeLimit=0
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=cpu Nodes=ALL MaxTime=INFINITE State=UP
"""
# A pretended GPU needs some file of a device, one for each.
GENERIC = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


def why_not() -> str:
    """Why no Slurm can be started here, as a sentence; empty where one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing:
        return f"Slurm is not installed ({', '.join(missing)} missing): apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "Slurm's servers are started as root, and this is another user"


class Slurm:
    """Munge, controller and node daemon; ``environment`` leads Slurm's commands to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCHED}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all three, and wait until the node takes jobs."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        ports = free_ports(2)
        settings = SETTINGS.format(
            host=socket.gethostname().partition(".")[0],
            folder=self.folder,
            controller_port=ports[0],
            node_port=ports[1],
            gpus=GPUS,
        )
        (self.folder / "slurm.conf").write_text(settings)
        (self.folder / "gres.conf").write_text(GENERIC)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        options = {
            "key-file": key,
            "socket": self.folder / "munge.socket",
            "pid-file": self.folder / "munge.pid",
            "log-file": self.folder / "munge.log",
            "seed-file": self.folder / "munge.seed",
        }
        self._run("munged", "--foreground", "--force", *[f"--{name}={value}" for name, value in options.items()])
        until((self.folder / "munge.socket").exists, 60, "munge")
        self.start_controller()
        until(lambda: self.ask("sinfo", "--noheader", check=False).returncode == 0, 60, "the controller")
        self.start_node()

    def start_controller(self) -> None:
        """Start slurmctld; its state is that of before."""
        self._run("slurmctld", "-D")

    def start_node(self) -> None:
        """Start slurmd, and wait until the node takes jobs."""
        self._run("slurmd", "-D")
        until(lambda: self.node() == "idle", 60, "the node")

    def kill(self, name: str) -> None:
        """Kill a server as a power cut would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop_controller(self) -> None:
        """End slurmctld with its state noted: killed at once, it would begin a job anew that it had just begun."""
        process = self._processes.pop("slurmctld")
        process.terminate()
        process.wait(60)

    def stop(self) -> None:
        """Cancel all jobs and stop the servers, in the order in which they need each other."""
        self.ask("scancel", "--user=root", check=False)
        time.sleep(1)
        for name in ("slurmd", "slurmctld", "munged"):
            if process := self._processes.pop(name, None):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def ask(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of Slurm on this cluster."""
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=check, timeout=60)

    def node(self) -> str:
        """State of the node, as ``sinfo`` names it."""
        return self.ask("sinfo", "--noheader", "--partition=gpu", "--format=%t").stdout.strip()

    def jobs(self, state: str) -> list[str]:
        """Numbers of the jobs in a state."""
        return self.ask("squeue", "--noheader", f"--states={state}", "--format=%i").stdout.split()

    def _run(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=SEARCHED)
        assert program is not None
        with (self.folder / f"{name}.out").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [program, *options], env=os.environ | self.environment, stdout=log, stderr=log, start_new_session=True
            )


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process, until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def until(what: Callable[[], Any], seconds: float, name: str) -> Any:
    """The first true answer of a question that is asked again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := what():
            return answer
        time.sleep(0.5)
    raise AssertionError(f"{name}: not within {seconds} s")
