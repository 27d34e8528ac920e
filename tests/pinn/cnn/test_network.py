from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fly64_assets.pinn.architectures import build_network
from fly64_assets.pinn.network_spec import NetworkSpec, encoder_filters

CNN = NetworkSpec(
    architecture="cnn", patch_size=64, group_frames=4, n_filters_scale=1, amplitude_max=1.3, input_scale=0.7
)


def test_cnn_is_bounded_and_fills_the_border(wide):
    network = build_network(CNN, wide.probe, seed=3)
    with torch.no_grad():
        for decoder in (network.amplitude, network.phase):
            for head in (decoder.centre, decoder.outer):
                head.weight.mul_(200)
    frames = torch.from_numpy(wide.counts(slice(8)).astype(np.float32)).view(2, 4, 64, 64)
    patches = network(frames, torch.full((2, 4, 1, 1), wide.intensity_scale)).detach()
    assert patches.shape == (2, 4, 64, 64)
    assert 1.2 < float(patches.abs().max()) <= 1.3 + 1e-5
    assert 2.0 < float(patches.angle().abs().max()) <= math.pi
    assert float(patches[:, :, :16].abs().std()) > 0


@pytest.mark.parametrize(
    ("size", "filters"), [(64, [32, 64, 128]), (128, [16, 32, 64, 128]), (256, [8, 16, 32, 64, 128])]
)
def test_encoder_filters_are_the_published_ones(size, filters):
    assert encoder_filters(size, 1) == filters
    assert encoder_filters(size, 2) == [2 * count for count in filters]
