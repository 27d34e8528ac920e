from __future__ import annotations

from importlib import import_module

import torch
from torch.utils.data import DataLoader

import fly64_assets.engines.torch_compat  # noqa: F401
from fly64_assets.lsqml.overrides.installation import faster_library
from fly64_assets.lsqml.overrides.loading import WholeBatches


def test_batches_are_those_of_the_data_loader():
    import_module("ptychi.api")
    dataset = import_module("ptychi.io_handles").PtychographyDataset(torch.rand(10, 4, 4), fft_shift=False)
    sampler = [torch.tensor([3, 1, 8]), torch.tensor([0]), torch.tensor([9, 2])]
    found, expected = list(WholeBatches(dataset, sampler)), list(DataLoader(dataset, batch_sampler=sampler))
    assert len(WholeBatches(dataset, sampler)) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_the_cpu_is_not_declared(started):
    with faster_library(True):
        started()
        assert torch.get_default_device().type == "cpu"
        assert torch._C._len_torch_function_stack() == 0
