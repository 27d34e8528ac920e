"""Import of PtychoPINN's configurations and data sets: every key is accounted for."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fly64_assets.cli.commands.ptychopinn import broken_rules
from fly64_assets.contract import schema
from fly64_assets.contract.npz import load_dataset, open_npz, validate_file, write_npz
from fly64_assets.errors import ContractError
from fly64_assets.physics import counts, forward, scan
from fly64_assets.physics.windows import Scan
from fly64_assets.ptychopinn.configuration import LegacyConfigError, ModelConfig, PyTorchExecutionConfig, TrainingConfig
from fly64_assets.ptychopinn.data_sets import export_data_set, import_data_set
from fly64_assets.ptychopinn.dictionary import DEFAULTS, RUN_TIME_KEYS
from fly64_assets.ptychopinn.importing import RULES, import_configuration, read_configuration
from fly64_assets.study.design import StudyDesign


def read(path):
    return read_configuration(path, StudyDesign().rng_seeds, broken_rules)


def convert(document, name):
    return import_configuration(document, name, StudyDesign().rng_seeds, broken_rules)


def verdicts(found):
    return {entry.key: entry.verdict for entry in found.entries}


def test_a_configuration_becomes_a_design(tmp_path):
    config = TrainingConfig(
        model=ModelConfig(N=128, gridsize=2, n_filters_scale=1),
        train_data_file="a.npz",
        nepochs=7,
        nphotons=1e5,
        n_groups=99,
        neighbor_count=6,
        intensity_scale_trainable=False,
        subsample_seed=5,
    )
    document = json.loads(json.dumps(asdict(config)))
    execution = {"execution": asdict(PyTorchExecutionConfig(learning_rate=2e-3, accelerator="cpu"))}
    for name, text in (("a.json", json.dumps(document | execution)), ("a.yaml", yaml.safe_dump(document | execution))):
        (tmp_path / name).write_text(text)
        found = read(tmp_path / name)
        assert found.ok, [entry for entry in found.entries if entry.verdict == "refused"]
        design = StudyDesign.from_dict(found.design)
        assert (design.patch_size_pixels, design.gridsizes, design.neighbor_count) == (128, (1, 2), 6)
        assert (design.doses, design.pinn.epochs, design.pinn.learning_rate) == ((100000,), 7, 2e-3)
        assert (design.pinn.architecture, design.pinn.n_filters_scale) == ("cnn", 1)
        assert dict(design.rng_seeds) == {"simulation": 42, "grouping": 123, "subsampling": 5}
        names = {key for key in document if key != "model"} | set(document["model"]) | set(execution["execution"])
        assert set(verdicts(found)) == names


def test_the_flat_dictionary_is_understood_too():
    found = convert({"N": 64, "object.big": True, "npseed": 9, "timestamp": 1, "offset": 4}, "x")
    assert found.ok
    assert verdicts(found) == {
        "N": "understood", "object.big": "understood", "npseed": "understood", "timestamp": "ignored",
        "offset": "ignored",
    }  # fmt: skip
    assert found.design["rng_seeds"]["grouping"] == 9


def test_every_key_of_the_dictionary_is_judged_at_its_default():
    found = convert(DEFAULTS, "x")
    assert {entry.key for entry in found.entries if entry.verdict == "refused"} == {"intensity_scale.trainable"}
    assert set(verdicts(found)) == set(DEFAULTS)
    assert all(entry.text for entry in found.entries)


def test_an_inference_is_told_by_its_model():
    found = convert({"model_path": "m", "test_data_file": "t.npz", "n_groups": None}, "x")
    assert found.ok
    both = convert({"model_path": "m", "test_data_file": "t.npz", "n_groups": 5, "n_images": 6}, "x")
    assert both.ok, "n_images is no field of an inference, so it cannot differ"


CURRENT = {
    "architecture": "cnn", "optimizer": "adam", "torch_loss_mode": "poisson", "weight_decay": 0.0, "momentum": 0.9,
    "adam_beta1": 0.9, "adam_beta2": 0.999, "lr_warmup_epochs": 0, "lr_min_ratio": 0.1, "plateau_factor": 0.5,
    "plateau_patience": 2, "plateau_min_lr": 1e-4, "fno_modes": 12, "fno_width": 32, "fno_blocks": 4,
    "generator_output_mode": "real_imag", "probe_mask_diameter": None, "gradient_clip_algorithm": "norm",
}  # fmt: skip


def test_a_dump_of_current_defaults_passes_with_one_option(tmp_path):
    """As YAML and JSON write it, and as Python prints it: null and None are the same."""
    training = json.loads(json.dumps(asdict(TrainingConfig(test_data_file="b.npz", train_data_file="a.npz"))))
    document = {"training": training | CURRENT, "execution": asdict(PyTorchExecutionConfig()) | CURRENT}
    names = set(training) - {"model"} | set(training["model"]) | set(document["execution"])
    for number, text in enumerate(
        (yaml.safe_dump(document), json.dumps(document), yaml.safe_dump(document).replace("null", "None"))
    ):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        refused = [entry for entry in read(path).entries if entry.verdict == "refused"]
        assert [entry.key for entry in refused] == ["intensity_scale_trainable"]
        assert "--fixed-intensity-scale" in refused[0].text
        found = read_configuration(path, StudyDesign().rng_seeds, broken_rules, fixed_scale=True)
        assert found.ok
        assert set(verdicts(found)) == names
        assert all(entry.text for entry in found.entries)
        assert StudyDesign.from_dict(found.design).doses == (10**9,)


def test_a_long_file_name_gives_a_name_that_a_design_may_have():
    assert convert({"N": 64}, "Long Name " * 20).ok


def test_null_sets_no_key_whatever_its_rule(tmp_path):
    for value in (None, "None"):
        found = convert(dict.fromkeys([*RULES, *DEFAULTS, *CURRENT, "anything"], value), "x")
        assert found.ok, [entry for entry in found.entries if entry.verdict == "refused"]
        assert StudyDesign.from_dict(found.design)


def test_a_section_may_repeat_what_changes_nothing():
    training = {"output_dir": "a", "n_groups": 5, "neighbor_count": 7}
    inference = {"output_dir": "b", "n_groups": None, "neighbor_count": 7}
    assert convert({"training": training, "inference": inference}, "x").ok


@pytest.mark.parametrize(
    ("document", "key", "word"),
    [
        ({"architecture": "fno"}, "architecture", "only 'cnn' is possible here"),
        ({"optimizer": "sgd"}, "optimizer", "only 'adam'"),
        ({"torch_loss_mode": "mae"}, "torch_loss_mode", "Poisson likelihood"),
        ({"weight_decay": 0.01}, "weight_decay", "only 0.0"),
        ({"weight_decay": False}, "weight_decay", "only 0.0"),
        ({"probe_mask_diameter": 40}, "probe_mask_diameter", "only None"),
        ({"something_new": True}, "something_new", "unknown key"),
        ({"neighbour_count": 0}, "neighbour_count", "did you mean neighbor_count"),
        ({"intensity_scale.trainable": True}, "intensity_scale.trainable", "--fixed-intensity-scale"),
        ({"npseed": 1, "training": {"npseed": 2}}, "npseed", "twice"),
        ({"model": {"N": 64}, "N": 128}, "N", "twice"),
        ({"nphotons": 1.5}, "(design)", "whole number of photons"),
        ({"neighbour_count": 7}, "neighbour_count", "did you mean neighbor_count"),
        ({"amp_activation": "relu"}, "amp_activation", "only 'sigmoid'"),
        ({"model": {"model_type": "supervised"}}, "model_type", "no ground truth"),
        ({"probe.trainable": True}, "probe.trainable", "known"),
        ({"batch_size": 12}, "batch_size", "power of two"),
        ({"model": 5}, "model", "mapping"),
        ({"probe_big": True, "probe.big": False}, "probe.big", "twice"),
        ({"n_images": 5, "n_groups": 6}, "n_images", "differs"),
        ({"gridsize": 2, "neighbor_count": 3}, "(design)", "OVERSAMPLING-001"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(document, key, word):
    found = convert(document, "x")
    assert not found.ok
    refused = [entry for entry in found.entries if entry.verdict == "refused"]
    assert [entry.key for entry in refused] == [key]
    assert word in refused[0].text


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    (tmp_path / "x.yaml").write_text("nphotons: 1e9\n")
    assert read(tmp_path / "x.yaml").design["dose_list"] == [1e9]


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00", "5"])
def test_what_is_no_mapping_is_one_clear_error(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(LegacyConfigError, match=r"x\.yaml"):
        read(tmp_path / "x.yaml")


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=2)
)
keys = st.sampled_from([*RULES, *DEFAULTS, *RUN_TIME_KEYS, "model", "execution"]) | st.text()


@given(st.dictionaries(keys, junk | st.dictionaries(keys, junk, max_size=3), max_size=6))
def test_any_document_is_judged_key_by_key_and_never_crashes(document):
    found = convert(document, "fuzz")
    sections = {"model", "training", "inference", "execution"}
    expected = {str(key) for key in document if key not in sections}
    assert expected <= {entry.key for entry in found.entries}
    json.dumps([entry.to_dict() for entry in found.entries])
    if found.ok:
        StudyDesign.from_dict(found.design)


# -- data sets --------------------------------------------------------------------------------------------------


@pytest.fixture
def raw():
    """Counts, object, probe and positions of 12 frames as an old file holds them: frames last, integers."""
    size, shape = 16, (40, 44)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    obj = np.exp(0.5j * np.sin(columns / 3.0 + rows / 5.0))
    inner = np.mgrid[:size, :size] - size // 2
    probe = np.exp(-(inner[0] ** 2 + inner[1] ** 2) / 12.0).astype(np.complex64)
    positions = scan.uniform_scan(5, 12, shape, size)
    x, y = positions.x, positions.y
    scale = forward.intensity_scale(1e4, forward.exit_wave_energies(obj, probe, Scan(x, y, obj.shape, len(probe))))
    values = counts.poisson_counts(
        forward.patch_counts(obj, probe, Scan(x, y, obj.shape, len(probe)), scale), np.arange(12), 3, 10000
    )
    return {
        "diff3d": np.moveaxis(values, 0, -1).astype(np.uint16),
        "objectGuess": obj.astype(np.complex128),
        "probeGuess": probe,
        "xcoords": x,
        "ycoords": y,
        "scan_label": np.array("old"),
    }


def test_an_old_file_comes_in_with_an_account_of_every_key_and_goes_out_again(raw, tmp_path):
    np.savez(tmp_path / "old.npz", **raw)
    entries = import_data_set(tmp_path / "old.npz", tmp_path / "new.npz", {})
    of_keys = {entry.key: entry for entry in entries if entry.key in raw}
    assert set(of_keys) == set(raw)
    assert of_keys["scan_label"].verdict == "ignored"
    assert "read as diffraction" in {entry.text for entry in entries if entry.key == "diff3d"}
    assert {"square_root_of_counts", "move_frame_axis_first"} <= {entry.value for entry in entries}
    assert validate_file(tmp_path / "new.npz").ok
    assert load_dataset(tmp_path / "new.npz").frames == 12

    keys = export_data_set(tmp_path / "new.npz", tmp_path / "out.npz")
    out = open_npz(tmp_path / "out.npz")
    assert tuple(out) == keys
    assert np.array_equal(out["diff3d"], out["diffraction"])
    assert np.array_equal(np.rint(out["diff3d"].astype(float) ** 2), np.moveaxis(raw["diff3d"], -1, 0))
    assert {"xcoords_start", "ycoords_start"} <= set(keys)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda a: {"xcoords": a["xcoords"] * 1e-8, "ycoords": a["ycoords"] * 1e-8}, "coordinates"),
        (lambda a: {"xcoords": a["xcoords"] - 20, "ycoords": a["ycoords"] - 20}, "coordinates"),
        (lambda a: {"probeGuess": np.fft.ifftshift(a["probeGuess"])}, "centre"),
        (lambda a: {"diffraction": np.fft.ifftshift(a["diffraction"], axes=(1, 2))}, "centre"),
        (lambda a: {"diffraction": a["diffraction"] * np.float32(np.nan)}, "finite"),
    ],
)
def test_an_export_asks_what_the_import_asks(raw, tmp_path, change, rule):
    np.savez(tmp_path / "old.npz", **raw)
    import_data_set(tmp_path / "old.npz", tmp_path / "good.npz", {})
    arrays = dict(np.load(tmp_path / "good.npz"))
    np.savez(tmp_path / "bad.npz", **arrays | change(arrays))
    with pytest.raises(ContractError, match=f"DATA-001.{rule}"):
        export_data_set(tmp_path / "bad.npz", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
    assert export_data_set(tmp_path / "good.npz", tmp_path / "out.npz")


def test_a_file_that_breaks_the_contract_is_not_written(raw, tmp_path):
    raw["xcoords"] = raw["xcoords"] + 1000.0
    np.savez(tmp_path / "old.npz", **raw)
    entries = import_data_set(tmp_path / "old.npz", tmp_path / "new.npz", {})
    assert "DATA-001.coordinates" in {entry.value for entry in entries if entry.verdict == "refused"}
    assert not (tmp_path / "new.npz").exists()


def test_renamed_keys_are_named(raw, tmp_path):
    raw["frames"] = raw.pop("diff3d")
    with (tmp_path / "old.npz").open("wb") as file:
        write_npz(file, raw)
    entries = import_data_set(tmp_path / "old.npz", tmp_path / "new.npz", {"rename": {"frames": schema.FRAMES}})
    assert next(entry.text for entry in entries if entry.key == "frames") == "read as diffraction"
