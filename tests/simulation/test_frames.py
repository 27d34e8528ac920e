"""A simulated scan as files: noise independent of blocks, exact dose, history, bounded memory."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import scipy.fft

from fly64_assets.contract import validate as module
from fly64_assets.contract.findings import Expectations
from fly64_assets.contract.npz import NpzWriter, load_dataset, load_measurement
from fly64_assets.contract.validate import validate, validate_pair
from fly64_assets.errors import ContractError
from fly64_assets.physics.counts import frame_generator
from fly64_assets.physics.windows import read
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate, split_metadata, write_split
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.simulation.views import write_view

RECIPE = BaseRecipe(amplitude="coins", phase="grass", object_size=160, positions=120)


@pytest.fixture(scope="module")
def base():
    return make_base(RECIPE, 64)


@pytest.fixture(scope="module")
def scan(base):
    return simulate(base, dose=1000, scan="uniform", axis="y", seed=42)


def written(scan, split, tmp_path, patches=True, expected=None, threads=1):
    path = tmp_path / f"patched_{split}.npz"
    metadata = split_metadata(
        scan, split, patches=patches, base_name="test", base_sha256="0" * 64, parameters_sha256="1" * 64
    )
    with path.open("wb") as file:
        write_split(scan, split, file, patches=patches, metadata=metadata, expected=expected, threads=threads)
    return path


def test_both_halves_obey_the_contract(scan, tmp_path):
    sets = {split: load_dataset(written(scan, split, tmp_path)) for split in ("train", "test")}
    arrays = {split: dict(np.load(tmp_path / f"patched_{split}.npz")) for split in sets}
    for split, document in arrays.items():
        report = validate(document)
        assert report.findings == (), (split, report.findings)
    assert validate_pair(arrays["train"], arrays["test"]).ok
    assert sorted(np.concatenate([d.scan_index for d in sets.values()])) == list(range(120))
    patches = read(scan.base.object, sets["test"].scan)
    np.testing.assert_array_equal(sets["test"].patches, patches.astype(np.complex64))
    operations = [step["operation"] for step in sets["train"].metadata["data_transformations"]]
    assert operations == ["simulate", "canonicalise", "patch", "split", "validate"]


def test_frames_are_judged_once_when_they_are_written(scan, tmp_path, monkeypatch):
    judged = []
    look = module.frame_statistics
    monkeypatch.setattr(module, "frame_statistics", lambda *given: judged.append(1) or look(*given))
    path = written(scan, "train", tmp_path)
    assert len(judged) == 1
    half = load_dataset(path)
    load_measurement(path)
    assert len(judged) == 1
    with (tmp_path / "view.npz").open("wb") as file:
        write_view(half, np.arange(9), file, metadata=half.metadata)
    assert len(judged) == 2


def test_counts_are_integers_and_their_mean_is_the_dose(scan, tmp_path):
    sets = [load_dataset(written(scan, split, tmp_path, patches=False)) for split in ("train", "test")]
    counts = np.concatenate([d.measurement().counts().sum(axis=(1, 2)) for d in sets])
    assert abs(counts.mean() - 1000) < 5 * np.sqrt(1000 / len(counts))
    expected = [d.metadata["physics_parameters"]["expected_mean_counts"] for d in sets]
    weights = [d.frames for d in sets]
    assert np.average(expected, weights=weights) == pytest.approx(1000, rel=1e-12)


@pytest.mark.parametrize(("size", "threads"), [(1, 1), (7, 3), (1000, 1), (None, 2)])
def test_noise_and_patches_do_not_depend_on_blocks_or_threads(scan, size, threads):
    for blocks in (scan.amplitude_blocks, scan.patch_blocks):
        found = np.concatenate(list(blocks("train", size, threads)))
        assert found.tobytes() == np.concatenate(list(blocks("train", 5))).tobytes()


def plain_windows(obj, scan):
    """Bilinear windows as the formula says, without blocks."""
    side = scan.patch_size + 1
    fy, fx = (fractions[:, None, None] for fractions in scan.fractions.T)
    pixels = np.stack([obj[top : top + side, left : left + side] for top, left in scan.corners]).astype(complex)
    rows = pixels[:, :-1] + fy * (pixels[:, 1:] - pixels[:, :-1])
    return rows[:, :, :-1] + fx * (rows[:, :, 1:] - rows[:, :, :-1])


def plain_amplitude(scan, index):
    """Frames one after the other, as the formulas say."""
    waves = scan.base.probe * plain_windows(scan.base.object, scan.positions[index])
    field = np.stack([scipy.fft.fftshift(scipy.fft.fft2(scan.scale * wave, norm="ortho")) for wave in waves])
    rates = field.real**2 + field.imag**2
    counts = [
        frame_generator(scan.seed, scan.dose, int(frame), scan.repeat).poisson(rate)
        for frame, rate in zip(index, rates, strict=True)
    ]
    return (np.sqrt(np.asarray(counts, np.float64)) / scan.scale).astype(np.float32)


@pytest.mark.parametrize("size", [32, 63, 64])
@pytest.mark.parametrize("positions", ["uniform", "whole", "own"])
def test_frames_have_the_bytes_that_the_formulas_give(size, positions):
    base = make_base(RECIPE, size)
    turned = (base.object * np.exp(2.5j)).astype(np.complex64)
    obj = np.where(np.abs(turned) < 0.8, np.complex64(complex(-0.0, -0.0)), turned)
    x, y = (np.floor(values) if positions == "whole" else values for values in (base.x, base.y))
    base = dataclasses.replace(base, object=obj, x=x, y=y)
    scan = simulate(base, dose=1000, scan="uniform" if positions == "uniform" else "base", axis="y", seed=42)
    index = scan.halves["test"]
    amplitude, patches = (np.concatenate(list(blocks("test"))) for blocks in (scan.amplitude_blocks, scan.patch_blocks))
    assert patches.tobytes() == plain_windows(obj, scan.positions[index]).astype(np.complex64).tobytes()
    assert amplitude.tobytes() == plain_amplitude(scan, index).tobytes()


def test_doses_share_positions_but_not_noise(base, scan):
    other = simulate(base, dose=10000, scan="uniform", axis="y", seed=42)
    np.testing.assert_array_equal(other.positions.x, scan.positions.x)
    a, b = next(scan.amplitude_blocks("train")), next(other.amplitude_blocks("train"))
    assert np.abs((a * scan.scale) ** 2 - (b * other.scale) ** 2 / 10).max() > 1
    again = simulate(base, dose=1000, scan="uniform", axis="y", seed=42, repeat=2)
    assert (next(again.amplitude_blocks("train")) != a).any()
    np.testing.assert_array_equal(again.positions.x, scan.positions.x)


def test_equal_scans_are_equal_bytes_with_any_number_of_threads(base, scan, tmp_path):
    again = simulate(base, dose=1000, scan="uniform", axis="y", seed=42)
    reference = written(scan, "test", tmp_path).read_bytes()
    assert written(again, "test", tmp_path).read_bytes() == reference
    assert written(scan, "test", tmp_path, threads=3).read_bytes() == reference


def test_a_fault_in_a_thread_reaches_the_writer(base, scan, tmp_path):
    dark = dataclasses.replace(scan, scale=1e12)
    with pytest.raises(ValueError, match="lam"):
        written(dark, "test", tmp_path, threads=2)


EXPECTED = Expectations("test", 64, (1000,), {"baseline": 1, "dense": 2}, 7, patches=True)


def test_a_written_half_is_judged_by_what_the_file_gives_back(scan, tmp_path, monkeypatch):
    written(scan, "train", tmp_path, expected=EXPECTED)
    with pytest.raises(ContractError, match=r"(?s)dose_1000: the train half breaks .*: nphotons = 1000; .* has 500"):
        written(scan, "train", tmp_path, expected=dataclasses.replace(EXPECTED, doses=(500,)))
    with pytest.raises(ContractError, match="missing Y"):
        written(scan, "train", tmp_path, patches=False, expected=EXPECTED)
    add_blocks = NpzWriter.add_blocks

    def spoil(writer, name, shape, dtype, blocks):
        add_blocks(writer, name, shape, dtype, (-block if name == "diffraction" else block for block in blocks))

    monkeypatch.setattr(NpzWriter, "add_blocks", spoil)
    with pytest.raises(ContractError, match=r"DATA-001.amplitude: diffraction: \d+ amplitudes are negative"):
        written(scan, "train", tmp_path)


def test_own_positions_and_x_axis(base):
    scan = simulate(base, dose=1000, scan="base", axis="x", seed=1)
    np.testing.assert_array_equal(scan.positions.x, base.x)
    assert scan.positions.x[scan.halves["train"]].max() < scan.point <= scan.positions.x[scan.halves["test"]].min()


def test_a_scan_that_cannot_be_split_is_refused(base):
    line = dataclasses.replace(base, y=np.full_like(base.y, 80.0))
    with pytest.raises(ContractError, match=r"train half of the scan is empty: .*same y; split along the other axis"):
        simulate(line, dose=1000, scan="base", axis="y", seed=1)


def test_recipe_ranges_and_repeatability(base):
    assert np.abs(base.object).min() == pytest.approx(0.7, abs=1e-6)
    assert np.abs(base.object).max() == pytest.approx(1.0, abs=1e-6)
    phase = np.angle(base.object)
    assert (phase.min(), phase.max()) == pytest.approx((0.0, 1.0), abs=1e-6)
    again = make_base(RECIPE, 64)
    np.testing.assert_array_equal(again.object, base.object)
    raster = make_base(dataclasses.replace(RECIPE, pattern="raster"), 64)
    for coordinate in (raster.x, raster.y):
        assert 32 <= coordinate.min() <= coordinate.max() <= 160 - 32


MEMORY = """
import re, sys
from pathlib import Path
import numpy as np
from fly64_assets.contract.schema import Base
from fly64_assets.simulation.frames import simulate, write_split
n = int(sys.argv[1])
rng = np.random.default_rng(0)
obj = np.exp(1j * rng.uniform(0, 1, (400, 400))).astype(np.complex64)
base = Base(object=obj, probe=np.ones((64, 64), np.complex64), x=np.zeros(n), y=np.zeros(n), metadata={})
scan = simulate(base, dose=1000, scan="uniform", axis="y", seed=1)
with open("/dev/null", "wb") as file:
    for _ in scan.amplitude_blocks("train"):
        pass
    for _ in scan.patch_blocks("test"):
        pass
# The peak of this program alone: rusage would start from the process that forked it.
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_memory_does_not_grow_with_the_number_of_frames():
    peak = [
        int(subprocess.run([sys.executable, "-c", MEMORY, str(n)], capture_output=True, text=True, check=True).stdout)
        for n in (500, 6000)
    ]
    # 6000 frames of complex patches alone would be 393 MB.
    assert peak[1] - peak[0] < 30_000
