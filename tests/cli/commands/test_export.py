"""``fly64 export``: what is written for whom, and what is refused with the option that helps."""

import csv
import io
import sys
from dataclasses import replace

import dagster as dg
import h5py
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from fixtures.graph import SMALL, dagster_previews, make_graph  # noqa: F401
from fixtures.letter import letter_f
from fixtures.scan import measure, soft_probe, write_data_set

from fly64_assets.cli.main import main
from fly64_assets.contract.metadata import derive_metadata
from fly64_assets.contract.npz import load_dataset, write_npz
from fly64_assets.contract.schema import dataset_arrays
from fly64_assets.evaluation.report.summary import study_table
from fly64_assets.store.keys import REPORT, Half
from fly64_assets.study import stages
from fly64_assets.study.states import expected
from fly64_assets.study.table import STAGES

GEOMETRY = ("--pixel-size", 1e-8, "--wavelength", 1.5e-10, "--distance", 2)
RECORDED = {"pixel_size_m": 1e-8, "energy_eV": 8265.61, "detector_distance_m": 2.0}
OBJECT = letter_f(140, 151)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A data set without and one with its geometry, and a reconstruction of either."""
    folder = tmp_path_factory.mktemp("exported")
    plain = write_data_set(folder / "plain.npz", measure(OBJECT, soft_probe(64), 20, 1e4), OBJECT, dose=1e4)
    dataset = load_dataset(plain)
    known = replace(dataset, metadata=derive_metadata(dataset.metadata, physics=RECORDED), patches=None)
    for name, arrays in {
        "known.npz": dataset_arrays(known),
        "result.npz": {"reconstructed_object": OBJECT, "loss": np.array([2.0, 1.0])},
        "real.npz": {"reconstructed_object": OBJECT.real},
        "other.npz": {"reconstructed_object": OBJECT.T},
    }.items():
        with (folder / name).open("wb") as file:
            write_npz(file, arrays)
    return folder


def sentence(answer, status=1):
    assert answer.exit_code == status, answer.output
    return " ".join(answer.stderr.split())


def test_what_the_file_does_not_say_is_asked_for_by_option(fly64, files, tmp_path):
    out = tmp_path / "out.cxi"
    said = sentence(fly64("export", "data", files / "plain.npz", out))
    assert "does not record pixel_size_m, wavelength_m, detector_distance_m" in said
    assert "give --pixel-size M --wavelength M --distance M" in said
    said = sentence(fly64("export", "data", files / "plain.npz", out, "--wavelength", 1e-10))
    assert said.endswith("give --pixel-size M --distance M")
    assert list(tmp_path.iterdir()) == []
    answer = fly64("export", "data", files / "plain.npz", out, *GEOMETRY)
    assert answer.exit_code == 0
    assert "20 frames, 0 bad pixels, object pixel 10 nm" in answer.output
    assert "the object is ones (--object writes that of the file)" in answer.output


def test_what_the_file_says_holds_and_is_not_contradicted(fly64, files, tmp_path):
    answer = fly64("export", "data", files / "known.npz", tmp_path / "out.npz", "--object")
    assert answer.exit_code == 0, answer.output
    with np.load(tmp_path / "out.npz") as file:
        assert np.array_equal(file["object"][0], OBJECT)
        assert file["object_pixel_width_m"] == 1e-8
        assert file["photon_energy_eV"] == pytest.approx(8265.61)
    out = tmp_path / "out.cxi"
    said = sentence(fly64("export", "data", files / "known.npz", out, "--pixel-size", 2e-8))
    assert "records pixel_size_m = 1e-08, --pixel-size says 2e-08: leave the option out" in said
    assert not out.exists()
    assert fly64("export", "data", files / "known.npz", out, "--pixel-size", 1e-8).exit_code == 0
    with h5py.File(out) as file:
        assert (file["entry_1/image_2/data"][()] == 1).all()  # the truth goes along only where it is asked for


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1e-8"])
def test_a_length_is_a_finite_positive_number(fly64, files, tmp_path, value):
    answer = fly64("export", "data", files / "plain.npz", tmp_path / "out.cxi", "--pixel-size", value)
    assert "--pixel-size" in sentence(answer, 2)


def test_nothing_is_replaced_unasked(fly64, files, tmp_path):
    out = tmp_path / "out.cxi"
    out.write_bytes(b"mine")
    said = sentence(fly64("export", "data", files / "known.npz", out))
    assert "exists already" in said
    assert out.read_bytes() == b"mine"
    assert fly64("export", "data", files / "known.npz", out, "--force").exit_code == 0
    assert h5py.is_hdf5(out)
    itself = files / "known.npz"
    assert "from which it is made" in sentence(fly64("export", "data", itself, itself, "--force"), 2)


@pytest.mark.parametrize("command", [("data", "known.npz", "x.h5"), ("reconstruction", "x.npz"), ("scores", "x.txt")])
def test_another_ending_is_a_usage_error_that_names_those_that_are_written(fly64, files, command):
    said = sentence(fly64("export", *[files / part if "." in part else part for part in command]), 2)
    assert "none of the endings that are written: ." in said


@pytest.mark.parametrize("ending", [".h5", ".cxi", ".tif"])
def test_a_reconstruction_by_file_keeps_the_letter(fly64, files, tmp_path, ending):
    out = tmp_path / f"out{ending}"
    options = ("--file", files / "result.npz", "--data", files / "known.npz")
    assert fly64("export", "reconstruction", out, *options).exit_code == 0
    if ending == ".tif":
        amplitude, phase = tifffile.imread(out)
        assert np.allclose(amplitude * np.exp(1j * phase), OBJECT, atol=1e-6)
        return
    with h5py.File(out) as file:
        path = "object" if ending == ".h5" else "entry_1/image_2/data"
        assert np.array_equal(np.squeeze(file[path][()]), OBJECT)
        losses = file["loss_values" if ending == ".h5" else "entry_1/ptychodus/loss_values"]
        assert losses[()].tolist() == [2, 1]


def test_a_tiff_needs_no_data_set_and_says_whether_it_has_a_pixel_size(fly64, files, tmp_path):
    options = ("--file", files / "result.npz")
    answer = fly64("export", "reconstruction", tmp_path / "a.tif", *options)
    assert "without a pixel size (--pixel-size gives one)" in answer.output
    answer = fly64("export", "reconstruction", tmp_path / "b.tif", *options, "--pixel-size", 1e-8)
    assert "object pixel 10 nm" in answer.output


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ((), 2, "Missing --method, --dose, --view, --split, or --file"),
        (("--method", "lsqml", "--dose", 1e3), 2, "Missing --view, --split"),
        (("--file", "result.npz"), 2, ".h5 holds positions and probe: give the data set with --data"),
        (("--file", "result.npz", "--dose", 1e3), 2, "--file and --dose exclude each other"),
        (("--data", "known.npz"), 2, "--data belongs to --file"),
        (("--file", "known.npz", "--data", "known.npz"), 1, "holds no 'reconstructed_object'"),
        (("--file", "real.npz", "--data", "known.npz"), 1, "expected finite complex numbers of shape (H, W)"),
        (("--file", "other.npz", "--data", "known.npz"), 1, "does not belong to"),
        (("--file", "result.npz", "--data", "plain.npz"), 1, "give --pixel-size M"),
        (("--method", "lsqml", "--dose", 7, "--view", "dense", "--split", "test"), 2, "7 is not a dose of study demo"),
        (
            ("--method", "lsqml", "--dose", 1e3, "--view", "dense", "--split", "test", "--repeat", 9),
            2,
            "study demo has 1 repeat(s)",
        ),
        (("--method", "lsqml", "--dose", 1e3, "--view", "dense", "--split", "test"), 1, "has no base yet"),
    ],
)
def test_which_reconstruction_is_meant_is_never_guessed(fly64, files, tmp_path, options, status, said):
    out = tmp_path / "out.h5"
    given = [files / one if str(one).endswith(".npz") else one for one in options]
    assert said in sentence(fly64("export", "reconstruction", out, *given), status)
    assert not out.exists()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The frames of a small study, on which nothing has been reconstructed."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "instance").mkdir()
    with dg.DagsterInstance.ephemeral(tempdir=str(folder / "instance")) as instance:
        graph = make_graph(folder, instance, SMALL)
        assert graph.run("base_dataset").success
        assert graph.run("simulated_dataset", partition="1000").success
        assert graph.run("overlap_view", partition="1000|baseline").success
        yield graph


@pytest.fixture
def export(study):
    """Run the command on that study."""
    options = ["--study", str(study.store.data_root.parent / "study.yaml"), "--data-root", str(study.store.data_root)]
    return lambda *arguments: CliRunner().invoke(main, [*options, "export", *map(str, arguments)])


def build(graph, key, name, content, inputs=None):
    """A result on disk as its asset writes it, with one file."""
    layout = graph.store.layout(graph.store.active_base().base_id)
    with graph.store.build(
        layout,
        key,
        inputs=inputs or expected(graph.store, layout, graph.design, key).inputs,
        parameters=stages.parameters(graph.design, key),
        design_sha256=graph.design.sha256(),
        code_version=stages.code_version(key),
        seeds={},
    ) as work:
        work.write_bytes(layout.output(key, name), content)
        work.succeed({})
    return layout.output(key, name)


def test_a_reconstruction_of_the_study_is_found_with_its_frames(export, study, tmp_path):
    half, content = Half(1000, "baseline", "test"), io.BytesIO()
    layout = study.store.layout(study.store.active_base().base_id)
    measured = load_dataset(layout.view_frames(half))
    obj = letter_f(*measured.object.shape)
    write_npz(content, {"reconstructed_object": obj})
    key = STAGES["lsqml_reconstruction_test"].key(study.design, half)
    build(study, key, "ptychi_reconstruction.npz", content.getvalue())
    place = ("--method", "lsqml", "--dose", 1e3, "--view", "baseline", "--split")
    answer = export("reconstruction", tmp_path / "a.h5", *place, "test", *GEOMETRY)
    assert answer.exit_code == 0, answer.output
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["object"][0], obj)
        assert file["probe_position_x_m"][()] == pytest.approx(1e-8 * (measured.x - obj.shape[1] / 2), abs=1e-16)
        assert file.attrs["name"] == "small dose_1000/baseline: reconstruction lsqml test"
        assert "ptychi_reconstruction.npz with SHA256" in file.attrs["comments"]
    for split, method in (("train", "lsqml"), ("test", "pinn")):
        place = ("--method", method, "--dose", 1e3, "--view", "baseline", "--split", split)
        said = sentence(export("reconstruction", tmp_path / "b.h5", *place, *GEOMETRY))
        assert f"dose_1000/baseline: {'inference pinn' if method == 'pinn' else 'reconstruction lsqml train'}" in said
        assert "has no result" in said
    # A result that was not made from the frames that are there does not go out with their positions.
    key = STAGES["lsqml_reconstruction_train"].key(study.design, half.cell)
    build(study, key, "ptychi_reconstruction.npz", content.getvalue(), inputs=(layout.base,))
    place = ("--method", "lsqml", "--dose", 1e3, "--view", "baseline", "--split", "train")
    said = sentence(export("reconstruction", tmp_path / "b.h5", *place, *GEOMETRY))
    assert "was made from other frames than those in" in said
    assert not (tmp_path / "b.h5").exists()


def test_the_scores_of_the_report_keep_their_values_and_get_their_types(export, study, tmp_path, monkeypatch):
    assert "`fly64 report` makes it" in sentence(export("scores", tmp_path / "a.csv"))
    rows = [{"arm": "pinn", "part": "phase", "metric": "rmse", "value": 0.1, "reason": None}]
    rows += [{"arm": "lsqml", "part": "phase", "metric": "ssim", "value": None, "reason": "no pixels, none at all"}]
    split = {
        "rows": rows,
        "photons": {"frames": 30, "photons_per_pixel": 12.104540593617974},
        "region": {"covered_fraction": 1.0},
        "limit": {"state": "regular"},
    }
    cell = {"dose": 1000, "view": "baseline", "comparisons": {1: {"splits": {"test": split}}}}
    table = build(study, REPORT, "study_metrics.csv", study_table([cell]))
    assert export("scores", tmp_path / "a.csv").exit_code == 0
    assert (tmp_path / "a.csv").read_bytes() == table.read_bytes()
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export("scores", tmp_path / "a.parquet").exit_code == 0
    schema = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "a.parquet")}
    assert list(schema) == next(csv.reader(table.read_text().splitlines()))
    assert (schema["dose"], schema["value"], schema["reason"]) == ("int64", "double", "string")
    assert parquet.read_table(tmp_path / "a.parquet").column("value").to_pylist() == [0.1, None]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = sentence(export("scores", tmp_path / "b.parquet"))
    assert "pip install 'fly64-assets[parquet]'" in said
    assert not (tmp_path / "b.parquet").exists()
