from __future__ import annotations

import pytest

from fly64_assets.errors import EngineError
from fly64_assets.resources import gpu
from fly64_assets.resources.gpu import GpuResource


@pytest.fixture
def machine(monkeypatch):
    """Pretend that torch can use so many GPUs."""
    return lambda found: monkeypatch.setattr(gpu, "cuda_devices", lambda: found)


@pytest.mark.parametrize(
    ("asked", "found", "accelerator", "devices"),
    [
        ({}, 0, "cpu", 1),
        ({}, 2, "cuda", 1),
        ({"devices": 2}, 2, "cuda", 2),
        ({"devices": 4}, 2, "cuda", 2),
        ({"devices": 2}, 0, "cpu", 1),
        ({"accelerator": "gpu", "devices": 2}, 2, "cuda", 2),
        ({"accelerator": "gpu", "fallback": True}, 0, "cpu", 1),
        ({"accelerator": "cuda", "devices": 3, "fallback": True}, 2, "cuda", 2),
        ({"accelerator": "cpu"}, 2, "cpu", 1),
        ({"accelerator": "cpu", "devices": 2}, 2, "cpu", 2),
    ],
)
def test_devices_are_those_that_there_are(machine, asked, found, accelerator, devices):
    machine(found)
    execution = GpuResource(**asked).execution()
    assert (execution.accelerator, execution.devices) == (accelerator, devices)


@pytest.mark.parametrize(
    ("asked", "found", "message"),
    [
        ({"accelerator": "gpu"}, 0, r"1 GPU\(s\) were requested and torch can use 0"),
        ({"accelerator": "gpu", "devices": 3}, 2, r"3 GPU\(s\) were requested and torch can use 2"),
        ({"accelerator": "tpu"}, 0, "accelerator 'tpu' is unknown"),
        ({"precision": "bf16-true"}, 0, "precision 'bf16-true' is unknown: expected one of 32-true, bf16-mixed"),
        ({"precision": ""}, 0, "precision '' is unknown"),
        ({"devices": 0}, 0, "devices = 0: expected at least 1"),
        ({"threads": 0}, 0, "threads = 0: expected at least 1"),
        ({"threads": -3}, 0, "threads = -3: expected at least 1"),
        ({"threads": 10**9}, 0, "threads = 1000000000: expected at most 1024"),
        ({"threads": 0, "devices": -1}, 0, "devices = -1: expected at least 1; threads = 0: expected at least 1"),
    ],
)
def test_what_cannot_be_met_is_refused(machine, asked, found, message):
    machine(found)
    with pytest.raises(EngineError, match=message):
        GpuResource(**asked).execution()


def test_it_says_what_was_asked_for_and_what_was_found(machine):
    def description(**settings):
        resource = GpuResource(**settings)
        return resource.describe(resource.execution())

    machine(2)
    assert description(accelerator="gpu") == (
        "engines run on 1 x cuda with 1 thread(s) each (requested: gpu, 1; GPUs: 2 that torch can use)"
    )
    machine(0)
    assert "1 x cpu" in description(accelerator="gpu", fallback=True)
    assert "GPUs: not looked for" in description(accelerator="cpu")
    with pytest.raises(EngineError, match="allow the CPU with fallback: true"):
        description(accelerator="gpu")
