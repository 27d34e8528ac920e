"""A compared cell and the summary of a study that holds it, from real small arrays."""

import numpy as np
import pytest

from fly64_assets.evaluation.report.figures import cell_pictures, loss_history, picture_name
from fly64_assets.evaluation.report.summary import study_summary
from fly64_assets.evaluation.scores.compare import SplitInput, compare_cell
from fly64_assets.evaluation.scores.region import scan_box
from fly64_assets.physics.counts import poisson_counts, stored_amplitude
from fly64_assets.physics.forward import exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan
from fly64_assets.study.design import load_design

N = 32


DESIGN = load_design("demo")


OVERLAP = {"metric_2_image_based_avg": 0.4, "neighbor_count": 7, "n_unique_images": 60, "probe_diameter_px": 11.25}


SKIP = "; ".join(
    f"dose_1000/sparse: {split}: 3 of 91 positions are 51.2 px apart; 4 are needed for min_view_frames (view skipped)"
    for split in ("train", "test")
)


@pytest.fixture(scope="session")
def comparison():
    """One cell: a good method, a bad one, and one that failed."""
    rng = np.random.default_rng(5)
    axis = np.arange(110) / 9
    obj = (0.85 + 0.1 * np.sin(axis[:, None])) * np.exp(0.5j * np.sin(axis)[None, :] * np.cos(axis)[:, None])
    grid = np.arange(N) - N / 2
    probe = np.exp(-(grid[:, None] ** 2 + grid[None, :] ** 2) / 60).astype(np.complex64)
    splits = {}
    for split, low in (("train", 16), ("test", 60)):
        x, y = rng.uniform(16, 94, 60), rng.uniform(low, low + 34, 60)
        scale = intensity_scale(1000, exit_wave_energies(obj, probe, Scan(x, y, obj.shape, len(probe))))
        counts = poisson_counts(
            patch_counts(obj, probe, Scan(x, y, obj.shape, len(probe)), scale), np.arange(60), 1, 1000
        )
        amplitude = stored_amplitude(counts, scale)
        measurement = Measurement(amplitude, scale, probe, x, y, obj.shape, np.arange(60))
        methods = {
            "pinn": obj * np.exp(1j * rng.normal(0, 0.05, obj.shape)),
            "lsqml": obj * np.exp(1j * rng.normal(0, 0.9, obj.shape)),
            "other": "failed: <script>alert(1)</script> out of memory",
        }
        splits[split] = SplitInput(measurement=measurement, methods=methods, scan_box=scan_box(measurement.scan))
    return compare_cell(1000, "baseline", obj, splits, evaluation=DESIGN.evaluation, metrics=DESIGN.metrics_config)


def _summary_of(cells, provenance=None):
    views = [{"name": view, "gridsize": 1, "overlap": 0.5, "spacing_px": 16.0} for view in DESIGN.views]
    design = DESIGN.to_dict()
    seeds = {"simulation": 42, "repeats": [1], "training": [123]}
    made = {
        "time": "2026-01-02T03:04:05+00:00",
        "host": "here",
        "cores": 2,
        "load": [0.1, 0.2, 0.3],
        "command": "fly64 run",
    }
    provenance = {"seeds": seeds, "made": made} | (provenance or {})
    return study_summary(
        DESIGN.name, DESIGN.doses, views, cells, threshold_rad=0.1, design=design, provenance=provenance
    )


def _stage(outcome="succeeded", reason=None, stale=None):
    return {"outcome": outcome, "reason": reason, "seconds": 1.5, "stale": bool(stale), "stale_reason": stale}


@pytest.fixture(scope="session")
def summary_of():
    """The summary of cells of the demo."""
    return _summary_of


@pytest.fixture(scope="session")
def stage():
    """A stage of a cell, as the report gets it."""
    return _stage


@pytest.fixture(scope="session")
def summary(comparison):
    cells = []
    for dose in DESIGN.doses:
        for view in DESIGN.views:
            cell = {"dose": dose, "view": view, "stages": {"view": _stage()}, "comparisons": {}, "overlap": {}}
            if (dose, view) == (1000, "baseline"):
                cell |= {"comparisons": {1: comparison.to_dict()}, "overlap": {"test": OVERLAP}}
            elif view == "sparse" and dose == 1000:
                cell["stages"] = {"view": _stage("skipped", SKIP), "pinn training": _stage("skipped", SKIP)}
            elif view == "dense":
                cell["stages"] = {"view": _stage(stale="parameter neighbor_count changed (7 then, 5 now)")}
            else:
                cell["stages"] = {"view": _stage("failed", "the disk is full")}
            cells.append(cell)
    provenance = {
        "base_id": "demo_12345678",
        "base_sha256": "a" * 64,
        "design_sha256": DESIGN.sha256(),
        "versions": {"numpy": "2", "fly64-assets": "0"},
        "artifacts": [{"path": "base.npz", "sha256": "a" * 64, "bytes": 12345}],
    }
    return _summary_of(cells, provenance)


@pytest.fixture(scope="session")
def pictures(comparison):
    """What the comparison asset hands to the page for one cell."""
    histories = {split: {"pinn": loss_history(np.array([3.0, 2.0]))} for split in ("train", "test")}
    files = cell_pictures(comparison, coverage_threshold=0.1, histories=histories)
    return {f"1000/baseline/{picture_name(file)}": png for file, png in files.items()}
