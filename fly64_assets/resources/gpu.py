"""Execution settings of the engines (CONFIG-002: they never enter a study's parameters)."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import Field

from fly64_assets.engines.execution import Accelerator, Execution, Precision
from fly64_assets.errors import EngineError
from fly64_assets.resources.checked import CheckedResource

MOST: Final = 1024
"""Devices or threads, well beyond any one machine: a larger number is a mistake."""


@cache
def cuda_devices() -> int:
    """Number of GPUs that torch can use. Asks a child process, and only where a GPU's device file exists."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return 0
    question = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=False)
    return int(answer.stdout.strip() or 0) if answer.returncode == 0 else 0


class GpuResource(CheckedResource[Execution]):
    """Where and how engines run. Results are reproducible at equal ``devices``, ``precision`` and ``threads``.

    On one kind of machine, that is: another processor or library rounds otherwise. Raises :class:`EngineError` for a
    setting out of its range.
    """

    accelerator: Accelerator = Field(
        default=Accelerator("auto"),
        description="auto takes a GPU where torch can use one and the CPU otherwise; gpu and cuda insist on a GPU.",
    )
    fallback: bool = Field(default=False, description="With gpu and cuda: take the CPU where there is no GPU.")
    devices: int = Field(
        default=1,
        ge=1,
        le=MOST,
        description=f"Devices on which a network trains, 1 to {MOST}; a process each. Reconstructions take one.",
    )
    precision: Precision = Field(
        default=Precision("32-true"), description="Lightning's name of the arithmetic in which a network trains."
    )
    deterministic: bool = Field(default=True, description="Only deterministic algorithms.")
    threads: int = Field(default=1, ge=1, le=MOST, description=f"CPU threads of one engine process, 1 to {MOST}.")

    def execution(self) -> Execution:
        """Settings with the accelerator resolved. Raises :class:`EngineError` for more GPUs than exist."""
        found = 0 if self.accelerator == "cpu" else cuda_devices()
        if self.accelerator in ("gpu", "cuda") and found < self.devices and not self.fallback:
            raise EngineError(
                f"{self.devices} GPU(s) were requested and torch can use {found}: "
                "free or add GPUs, set accelerator to auto or cpu, or allow the CPU with fallback: true"
            )
        # A fallback to the CPU is one process there; who names the CPU gets as many as they say.
        devices = min(self.devices, found) if found else self.devices if self.accelerator == "cpu" else 1
        accelerator = "cuda" if found else "cpu"
        return Execution(accelerator, devices, self.precision.value, self.deterministic, self.threads)

    def describe(self, execution: Execution) -> str:
        """What was requested and what was found, as a sentence."""
        available = "not looked for" if self.accelerator == "cpu" else f"{cuda_devices()} that torch can use"
        return (
            f"engines run on {execution.devices} x {execution.accelerator} with {execution.threads} thread(s) each "
            f"(requested: {self.accelerator}, {self.devices}; GPUs: {available})"
        )
