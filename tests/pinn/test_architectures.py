from __future__ import annotations

import json

import pytest
import torch

from fly64_assets.pinn.architectures import ARCHITECTURES, build_network
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.settings import ARCHITECTURES as SETTINGS

SPECS = {
    "unrolled": NetworkSpec("unrolled", 64, 4, width=8, levels=(0.4, 0.13, 0.04), level_iterations=12, base=1),
    "cnn": NetworkSpec("cnn", 64, 4, n_filters_scale=1, amplitude_max=1.3, input_scale=0.7),
}
SPEC = SPECS["unrolled"]


def test_every_architecture_has_settings_and_a_network():
    assert set(ARCHITECTURES) == set(SETTINGS) == set(SPECS)


def test_a_spec_survives_json():
    assert NetworkSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC
    with pytest.raises(KeyError):
        NetworkSpec.from_dict({name: value for name, value in SPEC.to_dict().items() if name != "levels"})
    with pytest.raises(TypeError):
        NetworkSpec.from_dict(SPEC.to_dict() | {"depth": 3})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_weights_depend_on_the_seed_only(architecture, wide):
    spec = SPECS[architecture]

    def weights(seed):
        return torch.cat([p.detach().ravel() for p in build_network(spec, wide.probe, seed).parameters()])

    state = torch.random.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))
