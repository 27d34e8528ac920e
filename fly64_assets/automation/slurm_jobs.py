"""Jobs of Slurm: the script and options of one, its submission, its state, its end.

Does not belong here: runs of Dagster (``slurm``), what a run needs (``demands``).
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fly64_assets.automation.demands import Demand
from fly64_assets.errors import Fly64Error

COMMANDS: Final = ("sbatch", "scontrol", "scancel")
"""Commands of Slurm that the launcher calls."""
ANSWER_SECONDS: Final = 60
"""For a command of Slurm; a busy controller takes its time."""
PENDING: Final = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"})
AT_WORK: Final = frozenset({"RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"})
ENDED: Final = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled outside Dagster",
    "COMPLETED": "its process ended without ending the run",
    "DEADLINE": "it did not end before its deadline",
    "FAILED": "its process failed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than it had requested",
    "PREEMPTED": "another job took its place",
    "REVOKED": "another cluster took it",
    "TIMEOUT": "it reached its time limit",
}
"""States in which a job has ended (squeue(1), JOB STATE CODES), each with what it means for a run at work."""


EXHAUSTED: Final = {"DEADLINE": "--deadline", "OUT_OF_MEMORY": "memory_gib", "TIMEOUT": "time_limit"}
"""States in which the same job would end again, each with the setting that must be raised."""


class SlurmError(Fly64Error):
    """A command of Slurm that could not be carried out."""


@dataclass(frozen=True)
class JobState:
    """What Slurm says about a job."""

    state: str
    reason: str = ""
    exit_code: str = ""

    @property
    def ended(self) -> bool:
        """Whether the job has ended; states that this program does not know count as being at work."""
        return self.state in ENDED

    @property
    def exhausted(self) -> bool:
        """Whether the job has used up its time or memory, or is being ended for that."""
        return self._cause in EXHAUSTED

    @property
    def _cause(self) -> str:
        # While the processes of a job are ended, Slurm shows this state and the reason of the next.
        return "TIMEOUT" if (self.state, self.reason) == ("COMPLETING", "TimeLimit") else self.state

    @property
    def sentence(self) -> str:
        """The state in words, with Slurm's own reason where it gives one; for an exhausted job also what to do."""
        details = [self.state]
        details += [f"reason {self.reason}"] if self.reason not in ("", "None") else []
        details += [f"exit code {self.exit_code}"] if self.exit_code not in ("", "0:0") else []
        meaning = ENDED.get(self._cause) or ("it waits in the queue" if self.state in PENDING else "it is at work")
        advice = (
            f"; the run is not begun again automatically: raise {EXHAUSTED[self._cause]} and re-execute it, and it "
            "goes on after its last finished step"
            if self.exhausted
            else ""
        )
        return f"{meaning} ({', '.join(details)}){advice}"


@dataclass(frozen=True)
class JobRequest:
    """What is handed to ``sbatch``."""

    name: str
    log: Path
    """Pattern of the file that receives what the job prints; ``%j`` is its number."""
    demand: Demand
    command: Sequence[str]
    environment: Mapping[str, str]
    setup: Sequence[str] = ()
    """Lines of the script before the command, for example ``module load cuda``."""
    gres: str = "gpu"
    """Name, or name and type, of GPUs among the generic resources of the cluster."""
    partition: str = ""
    account: str = ""
    time_limit: str = ""
    options: Sequence[str] = ()
    """Further options of ``sbatch``, after all others."""

    def arguments(self) -> list[str]:
        """Options of ``sbatch``. A job is never begun again by Slurm: Dagster does that, with what is finished kept."""
        wanted = {
            "--job-name": self.name,
            "--output": str(self.log),
            "--partition": self.partition,
            "--account": self.account,
            "--time": self.time_limit,
            "--cpus-per-task": str(self.demand.cpus),
            "--mem": f"{self.demand.memory_gib}G",
            "--gres": f"{self.gres}:{self.demand.gpus}" if self.demand.gpus else "",
        }
        given = [f"{option}={value}" for option, value in wanted.items() if value]
        return ["--parsable", "--no-requeue", "--nodes=1", "--ntasks=1", *given, *self.options]

    def script(self) -> str:
        """The job's script. Its last command takes the place of the shell, so that signals reach it."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return "\n".join(["#!/bin/bash", *exports, *self.setup, f"exec {shlex.join(self.command)}", ""])


def require_commands() -> None:
    """Raise :class:`SlurmError` where this machine lacks commands of Slurm."""
    if missing := [name for name in COMMANDS if shutil.which(name) is None]:
        raise _not_here(*missing)


def submit(request: JobRequest) -> str:
    """Submit a job; returns its number. Raises :class:`SlurmError` with what ``sbatch`` says."""
    answer = _ask(["sbatch", *request.arguments()], request.script())
    number = answer.stdout.strip().partition(";")[0]
    if answer.returncode or not number.isdigit():
        raise SlurmError(
            f"sbatch did not take the job {request.name}: {_said(answer)} (options: "
            f"{shlex.join(request.arguments())}); see to them in the launcher's settings in dagster.yaml"
        )
    return number


def state_of(job: str) -> JobState | None:
    """State of a job: from the controller, else from the accounts of what has ended; None where neither knows it.

    Raises :class:`SlurmError` where Slurm does not answer.
    """
    answer = _ask(["scontrol", "--oneliner", "show", "job", job])
    if answer.returncode == 0:
        return shown_state(answer.stdout)
    if "Invalid job id" not in answer.stderr:
        raise SlurmError(f"Slurm does not say how job {job} fares: {_said(answer)}")
    accounts = _ask(
        ["sacct", "--jobs", job, "--allocations", "--noheader", "--parsable2", "--format=State,Reason,ExitCode"]
    )
    return accounted_state(accounts.stdout) if accounts.returncode == 0 else None


def shown_state(text: str) -> JobState:
    """The state in an answer of ``scontrol show job``."""
    values = dict(re.findall(r"\b(JobState|Reason|ExitCode)=(\S+)", text))
    return JobState(values.get("JobState", ""), values.get("Reason", ""), values.get("ExitCode", ""))


def accounted_state(text: str) -> JobState | None:
    """The state in an answer of ``sacct``; None for an empty answer. Who cancelled a job follows the state there."""
    line = next(iter(text.splitlines()), "")
    state, reason, exit_code = [*line.split("|"), "", ""][:3]
    name, _, addition = state.partition(" ")
    return JobState(name, reason if reason not in ("", "None") else addition, exit_code) if name else None


def cancel(job: str, *, only_pending: bool = False) -> None:
    """Cancel a job, or only if it is still in the queue. Raises :class:`SlurmError` where Slurm does not answer."""
    answer = _ask(["scancel", *(["--state=PENDING"] if only_pending else []), job])
    if answer.returncode and "Invalid job id" not in answer.stderr:
        raise SlurmError(f"Slurm did not cancel job {job}: {_said(answer)}")


def _ask(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except FileNotFoundError as error:
        raise _not_here(command[0]) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} gave no answer within {ANSWER_SECONDS} s") from error


def _not_here(*commands: str) -> SlurmError:
    names = f"{', '.join(commands)} {'is' if len(commands) == 1 else 'are'}"
    return SlurmError(f"{names} not installed here: runs are launched where Slurm's commands are")


def _said(answer: subprocess.CompletedProcess[str]) -> str:
    return " ".join((answer.stderr or answer.stdout).split()) or f"status {answer.returncode}"
