"""Execution settings of the engines (CONFIG-002: they never enter a study's parameters)."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import dagster as dg

from fly64_assets.engines.execution import ACCELERATORS, PRECISIONS, Execution
from fly64_assets.errors import EngineError


@cache
def cuda_devices() -> int:
    """Number of GPUs that torch can use. Asks a child process, and only where a GPU's device file exists."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return 0
    question = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=False)
    return int(answer.stdout.strip() or 0) if answer.returncode == 0 else 0


class GpuResource(dg.ConfigurableResource[Execution]):
    """Where and how engines run.

    ``auto`` takes a GPU where torch can use one and the CPU otherwise; ``gpu`` insists on it, or takes what there is
    where ``fallback`` is set. A network trains on ``devices`` devices, a process for each; reconstructions take one.
    ``precision`` is Lightning's name of the training's arithmetic. ``threads`` is the number of CPU threads of one
    engine process. Results are reproducible at equal ``devices``, ``precision`` and ``threads``.
    """

    accelerator: str = "auto"
    fallback: bool = False
    devices: int = 1
    precision: str = "32-true"
    deterministic: bool = True
    threads: int = 1

    def execution(self) -> Execution:
        """Settings with the accelerator resolved.

        Raises :class:`EngineError` for an unknown accelerator or precision, or for more GPUs than exist.
        """
        if self.accelerator not in ACCELERATORS:
            raise EngineError(f"accelerator {self.accelerator!r} is unknown: expected auto, cpu or gpu")
        if self.precision not in PRECISIONS:
            raise EngineError(f"precision {self.precision!r} is unknown: expected one of {', '.join(PRECISIONS)}")
        if self.devices < 1:
            raise EngineError(f"devices = {self.devices}: expected at least 1")
        found = 0 if self.accelerator == "cpu" else cuda_devices()
        if self.accelerator in ("gpu", "cuda") and found < self.devices and not self.fallback:
            raise EngineError(
                f"{self.devices} GPU(s) were requested and torch can use {found}: "
                "free or add GPUs, set accelerator to auto or cpu, or allow the CPU with fallback: true"
            )
        # A fallback to the CPU is one process there; who names the CPU gets as many as they say.
        devices = min(self.devices, found) if found else self.devices if self.accelerator == "cpu" else 1
        accelerator = "cuda" if found else "cpu"
        return Execution(accelerator, devices, self.precision, self.deterministic, self.threads)

    def describe(self, execution: Execution) -> str:
        """What was requested and what was found, as a sentence."""
        available = "not looked for" if self.accelerator == "cpu" else f"{cuda_devices()} that torch can use"
        return (
            f"engines run on {execution.devices} x {execution.accelerator} with {execution.threads} thread(s) each "
            f"(requested: {self.accelerator}, {self.devices}; GPUs: {available})"
        )
