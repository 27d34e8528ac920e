"""Names, defaults and rules of the legacy configuration, against the table of the study's specification."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from fly64_assets.ptychopinn.configuration import (
    InferenceConfig,
    LegacyConfigError,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    keys,
    rules,
)
from fly64_assets.ptychopinn.dictionary import DEFAULTS, OTHER_DEFAULTS, RUN_TIME_KEYS, legacy_parameters

TABLE = {
    "N": 64, "gridsize": 1, "n_filters_scale": 2, "model_type": "pinn", "amp_activation": "sigmoid",
    "object.big": True, "probe.big": True, "probe.mask": False, "pad_object": True, "probe_scale": 4.0,
    "gaussian_smoothing_sigma": 0.0,
    "train_data_file_path": None, "test_data_file_path": None, "batch_size": 16, "nepochs": 50, "mae_weight": 0,
    "nll_weight": 1, "realspace_mae_weight": 0, "realspace_weight": 0, "nphotons": 1e9, "n_groups": 512,
    "n_subsample": None, "subsample_seed": None, "neighbor_count": 4, "enable_oversampling": False,
    "neighbor_pool_size": None, "positions.provided": True, "probe.trainable": False,
    "intensity_scale.trainable": True, "output_prefix": "training_outputs", "sequential_sampling": False,
    "offset": 4, "outer_offset_train": None, "outer_offset_test": None, "big_gridsize": 10,
    "max_position_jitter": 10, "sim_jitter_scale": 0, "default_probe_scale": 0.7, "tv_weight": 0, "nimgs_train": 9,
    "nimgs_test": 3, "data_source": "generic", "set_phi": False, "label": "", "size": 392, "h5_path": "wts.h5",
    "npseed": 42, "debug": True, "use_xla_translate": True,
}  # fmt: skip
"""Every key of the dictionary and its value for a training that sets nothing."""


def test_a_training_that_sets_nothing_gives_the_whole_table():
    assert legacy_parameters(TrainingConfig()) == TABLE
    assert set(DEFAULTS) == set(TABLE)
    assert not set(RUN_TIME_KEYS) & set(TABLE)


def test_an_inference_gets_the_old_defaults_where_it_has_no_field():
    parameters = legacy_parameters(InferenceConfig(model_path=Path("m") / "wts.h5.zip", test_data_file=Path("a/b.npz")))
    expected = TABLE | {
        "nepochs": 60, "probe_scale": 4.0, "n_groups": None, "debug": False, "output_prefix": "inference_outputs",
        "test_data_file_path": "a/b.npz",
    }  # fmt: skip
    assert parameters == expected
    assert DEFAULTS["probe_scale"] == 10


def test_every_field_has_a_rule_and_a_key_or_is_known_to_have_none():
    for config in (ModelConfig, TrainingConfig, InferenceConfig, PyTorchExecutionConfig):
        assert {f.name for f in fields(config)} - {"model"} == set(rules(config))
    assert {f.name for f in fields(ModelConfig)} == set(keys(ModelConfig))
    assert {f.name for f in fields(TrainingConfig)} - set(keys(TrainingConfig)) == {"model", "n_images", "backend"}
    assert {f.name for f in fields(InferenceConfig)} - set(keys(InferenceConfig)) == {"model", "model_path", "backend"}


def test_execution_never_enters_the_dictionary():
    names = {f.name for f in fields(PyTorchExecutionConfig)}
    assert not names & set(DEFAULTS)
    with pytest.raises(LegacyConfigError, match="learning_rate"):
        legacy_parameters(TrainingConfig(), {"learning_rate": 1e-3})


def test_execution_has_the_defaults_of_the_table():
    assert PyTorchExecutionConfig() == PyTorchExecutionConfig(
        "auto", 1, "auto", True, "32-true", None, 1, 0, False, False, None, 1e-3, "Default", False, True, 1,
        "val_loss", "min", 100, "csv", None,
    )  # fmt: skip


def test_paths_become_posix_text_and_none_stays_a_value():
    parameters = legacy_parameters(TrainingConfig(train_data_file=Path("x") / "y.npz", output_dir=Path("out")))
    assert (parameters["train_data_file_path"], parameters["output_prefix"]) == ("x/y.npz", "out")
    assert "neighbor_pool_size" in parameters
    assert parameters["neighbor_pool_size"] is None


def test_other_keys_can_be_set_but_not_invented_and_not_against_the_configuration():
    assert legacy_parameters(TrainingConfig(), {"npseed": 7})["npseed"] == 7
    for wrong in ({"npsed": 7}, {"nepochs": 7}, {"N": 128}):
        with pytest.raises(LegacyConfigError, match=next(iter(wrong))):
            legacy_parameters(TrainingConfig(), wrong)


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (ModelConfig, {"N": 96}), (ModelConfig, {"N": 64.0}), (ModelConfig, {"amp_activation": "tanh"}),
        (ModelConfig, {"model_type": "Pinn"}), (ModelConfig, {"object_big": 1}), (ModelConfig, {"gridsize": 0}),
        (ModelConfig, {"probe_scale": float("nan")}), (TrainingConfig, {"batch_size": 24}),
        (TrainingConfig, {"batch_size": True}), (TrainingConfig, {"nepochs": 0}), (TrainingConfig, {"nphotons": 0}),
        (TrainingConfig, {"nphotons": "1e9"}), (TrainingConfig, {"mae_weight": 1.5}),
        (TrainingConfig, {"nll_weight": -0.1}), (TrainingConfig, {"neighbor_count": 0}),
        (TrainingConfig, {"backend": "jax"}), (TrainingConfig, {"output_dir": ""}), (TrainingConfig, {"model": {}}),
        (TrainingConfig, {"n_groups": 5, "n_images": 6}), (PyTorchExecutionConfig, {"accelerator": "tpu"}),
        (PyTorchExecutionConfig, {"num_workers": -1}), (PyTorchExecutionConfig, {"learning_rate": 0}),
    ],
)  # fmt: skip
def test_what_is_not_legal_is_refused_with_its_name(make, bad):
    with pytest.raises(LegacyConfigError, match=f"{list(bad)[-1]} = "):
        make(**bad)


def test_every_problem_is_named_at_once():
    with pytest.raises(LegacyConfigError) as caught:
        TrainingConfig(batch_size=3, nepochs=-1, nphotons=-1.0)
    assert all(name in str(caught.value) for name in ("batch_size", "nepochs", "nphotons"))


def test_n_images_is_the_old_name_of_n_groups():
    assert legacy_parameters(TrainingConfig(n_images=9))["n_groups"] == 9
    assert TrainingConfig(n_images=9, n_groups=9).groups == 9
    assert set(OTHER_DEFAULTS) <= set(DEFAULTS)
