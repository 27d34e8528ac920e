"""The section `detector` of a design: its hash, its mask file, and what a study makes of it."""

import dataclasses
import json

import dagster as dg
import numpy as np
import pytest
from fixtures.graph import make_graph

from fly64_assets.contract.npz import load_base, load_dataset, load_measurement, write_npz
from fly64_assets.contract.schema import base_arrays
from fly64_assets.errors import ContractError, DesignError
from fly64_assets.physics.scan import SPLITS
from fly64_assets.simulation.recipe import DetectorSettings
from fly64_assets.store.keys import BASE, Cell, Dose, Half, StageKey
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign, load_design, shipped_designs
from fly64_assets.study.intake import intake_file, recipe_base
from fly64_assets.study.states import active_layout, study_states

SIMULATED, VIEW = StageKey("simulated", Dose(1000)), StageKey("view", Cell(1000, "dense"))

MASKED = """
name: masked
dose_list: [1e3]
base: {amplitude: coins, phase: grass, object_size: 132, positions: 60}
detector:
  mask: mask.npy
  gap_rows: [[40, 4]]
  saturation: 12
  read_noise: 0.5
"""


@pytest.fixture
def design_file(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[10, 20] = True
    np.save(tmp_path / "mask.npy", mask)
    path = tmp_path / "study.yaml"
    path.write_text(MASKED)
    return path


@pytest.mark.parametrize("name", shipped_designs())
def test_a_design_without_a_detector_has_the_document_of_older_versions(name):
    design = load_design(name)
    assert "detector" not in design.to_dict()
    assert "detector" not in stages.parameters(design, SIMULATED)
    assert StudyDesign.from_dict({**design.to_dict(), "detector": {}}).sha256() == design.sha256()


def test_a_detector_is_read_and_written(design_file):
    design = load_design(design_file)
    assert design.detector == DetectorSettings("mask.npy", gap_rows=((40, 4),), saturation=12, read_noise=0.5)
    assert StudyDesign.from_dict(json.loads(json.dumps(design.to_dict()))) == design
    assert design.mask_path == design_file.parent / "mask.npy"
    without = StudyDesign.from_dict({k: v for k, v in design.to_dict().items() if k != "detector"})
    assert without.sha256() != design.sha256()


@pytest.mark.parametrize(
    ("detector", "said"),
    [
        ({"gap_rows": [[62, 3]]}, "detector.gap_rows = [62, 3]: must end within the 64 pixels of a frame"),
        ({"gap_columns": [[0, 33]]}, "detector: gaps and beamstop hide 2112 of 4096 pixels, must be at most half"),
        ({"beamstop_radius": 40}, "detector: gaps and beamstop hide"),
        ({"gap_rows": [3]}, "detector.gap_rows[0] = 3: must be a list"),
        ({"gap_rows": [[3, 1, 1]]}, "detector.gap_rows[0] = [3, 1, 1]: must have 2 entries"),
        ({"gaps": 3}, "detector.gaps = 3: unknown field (known: beamstop_offset, "),
        (3, "detector = 3: must be a mapping"),
    ],
)
def test_detectors_that_are_none(detector, said):
    with pytest.raises(DesignError) as caught:
        StudyDesign.from_dict({"detector": detector})
    (problem,) = caught.value.problems
    assert problem.startswith(said)


def test_a_mask_file_that_is_not_there_is_named(design_file):
    (design_file.parent / "mask.npy").unlink()
    with pytest.raises(DesignError, match=r"detector.mask = 'mask.npy': there is no file .*mask\.npy"):
        load_design(design_file)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.ones((64, 64), bool), r"4\d{3} of 4096 pixels would be bad, more than half"),
        (np.zeros((32, 32), bool), r"has shape \(32, 32\); the frames of this study have 64 x 64 pixels"),
        (np.full((64, 64), "a"), "is no picture of finite numbers"),
        (None, "of no known kind; a mask is an NPY, NPZ or TIFF file"),
    ],
)
def test_a_mask_that_cannot_be_is_told_with_all_other_errors(design_file, mask, said):
    """Not when the first frames are made; the shape only where the study's own is right."""
    path = design_file.parent / "mask.npy"
    path.write_text("no mask") if mask is None else np.save(path, mask)
    with pytest.raises(DesignError, match=f"detector.mask = 'mask.npy': .*{said}"):
        load_design(design_file)
    design_file.write_text(MASKED.replace("[1e3]", "[1e3, 1e3]"))
    with pytest.raises(DesignError) as caught:
        load_design(design_file)
    assert [problem.split(" ")[0] for problem in caught.value.problems] == ["dose_list", "detector.mask"]
    design_file.write_text(MASKED + "patch_size_pixels: 65\n")
    with pytest.raises(DesignError, match="patch_size_pixels = 65") as caught:
        load_design(design_file)
    assert len(caught.value.problems) == 1 + (mask is None or mask.dtype.kind == "U")


@pytest.fixture
def masked_graph(design_file, tmp_path):
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "instance")) as instance:
        yield make_graph(tmp_path, instance, MASKED)


def test_a_study_with_a_detector(masked_graph, tmp_path):
    graph = masked_graph
    assert graph.run("base_dataset").success
    result = graph.run("simulated_dataset", partition="1000")
    assert result.success
    checks = {one.asset_check_key.name: one.passed for one in result.get_asset_check_evaluations()}
    assert checks == {"gate": True, "sha256": True, "data_001": True, "physics": True}
    assert graph.run("overlap_view", partition="1000|dense").success
    layout = active_layout(graph.store)
    expected = np.zeros((64, 64), bool)
    expected[10, 20] = expected[40:44] = True
    for split in SPLITS:
        for path in (layout.patched(Dose(1000), split), layout.view_frames(Half(1000, "dense", split))):
            data = load_dataset(path)
            np.testing.assert_array_equal(data.bad_pixels, expected)
            np.testing.assert_array_equal(load_measurement(path).bad_pixels, expected)
            assert data.measurement().counts().max() == 12
            assert not data.diffraction[:, expected].any()
    states = study_states(graph.store, graph.design)
    assert all(states[key].done for key in (BASE, SIMULATED, VIEW))

    # The mask counts by its content: another name changes nothing, another pixel everything made with it.
    (tmp_path / "mask.npy").rename(tmp_path / "other.npy")
    (tmp_path / "study.yaml").write_text(MASKED.replace("mask.npy", "other.npy"))
    states = study_states(graph.store, load_design(tmp_path / "study.yaml"))
    assert all(states[key].done for key in (BASE, SIMULATED, VIEW))
    expected[11, 20] = True
    np.save(tmp_path / "other.npy", expected)
    states = study_states(graph.store, load_design(tmp_path / "study.yaml"))
    assert (states[BASE].name, states[SIMULATED].name, states[VIEW].name) == ("fresh", "stale", "stale")
    assert states[SIMULATED].reason.startswith("parameter detector.mask changed (")
    # Without the section the frames are others as well.
    (tmp_path / "study.yaml").write_text(MASKED.partition("detector:")[0])
    states = study_states(graph.store, load_design(tmp_path / "study.yaml"))
    assert (states[BASE].name, states[SIMULATED].name) == ("fresh", "stale")


def test_the_geometry_of_a_base_goes_into_its_data_sets(masked_graph, tmp_path):
    graph = masked_graph
    base = recipe_base(graph.design.base, 64, "made")
    geometry = {"pixel_size_m": 5e-8, "wavelength_m": 1.24e-10, "detector_distance_m": 2.1, "energy_eV": 10e3}
    known = base.metadata["physics_parameters"] | geometry
    arrays = base_arrays(dataclasses.replace(base, metadata=base.metadata | {"physics_parameters": known}))
    path = tmp_path / "measured.npz"
    with path.open("wb") as file:
        write_npz(file, arrays)
    intake_file(graph.store, graph.design, path)
    layout = active_layout(graph.store)
    assert geometry.items() <= load_base(layout.base).metadata["physics_parameters"].items()
    assert graph.run("simulated_dataset", partition="1000").success
    for split in SPLITS:
        physics = load_dataset(layout.patched(Dose(1000), split)).metadata["physics_parameters"]
        assert geometry.items() <= physics.items()
    wrong = base.metadata | {"physics_parameters": known | {"pixel_size_m": -1.0}}
    with path.open("wb") as file:
        write_npz(file, base_arrays(dataclasses.replace(base, metadata=wrong)))
    with pytest.raises(ContractError, match=r"pixel_size_m = -1\.0; expected a positive number"):
        intake_file(graph.store, graph.design, path)
