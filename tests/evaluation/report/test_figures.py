"""Figures: valid pictures within their limits, for good cells, bad cells and cells without anything."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fly64_assets.evaluation.report import figures
from fly64_assets.evaluation.report.figures import (
    PREVIEW_BYTES,
    QUANTITIES,
    cell_figure,
    frames_figure,
    method_style,
    phase_strip,
    picture_name,
    png,
    preview,
    scan_figure,
    tiles,
)
from fly64_assets.evaluation.scores.compare import compare_split
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig

HISTORIES = {"pinn": {"train": [3.0, 2.0, 1.5], "validation": [3.2, 2.4, 2.0]}, "lsqml": {"train": [2.0, 1.0]}}


def picture(data):
    """Pixels (h, w, 3) of a PNG that decodes to its last byte."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def compared(truth, train_split):
    random = np.random.default_rng(40)
    methods = {
        "pinn": truth * np.exp(0.3j * random.normal(size=truth.shape)),
        "lsqml": truth * np.exp(0.05j * random.normal(size=truth.shape)),
        "legacy_pinn": "skipped: " + "a long reason that does not fit on one line " * 6,
    }
    return compare_split("train", truth, train_split(methods), evaluation=EvaluationSettings(), metrics=MetricsConfig())


@pytest.fixture(scope="module")
def empty(truth, train_split):
    split = train_split({"pinn": truth, "lsqml": "off"})
    lit = split.measurement.scan
    return compare_split("test", truth, split, evaluation=EvaluationSettings(), metrics=MetricsConfig(), train_scan=lit)


def drawn(comparison, histories):
    return cell_figure(comparison, dose=1000, view="dense_object", coverage_threshold=0.1, histories=histories)


@pytest.fixture(scope="module")
def whole(compared):
    return drawn(compared, HISTORIES)


def test_cell_figure_is_a_picture_of_all_methods(whole):
    pixels = picture(whole)
    assert pixels.shape[1] > 900
    assert len(np.unique(pixels.astype(int) @ [65536, 256, 1])) > 500
    # Loss curves and ring correlations have the colours of the palette.
    for colour in figures.COLOURS[:2]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.all(np.abs(pixels.astype(int) - rgb) <= 2, axis=2).sum() > 50


def test_an_empty_region_is_drawn_with_its_reason(empty):
    assert picture(drawn(empty, {})).std() > 0
    assert picture(phase_strip(empty)).std() > 0


def test_phase_strip_is_small_and_shows_the_errors(compared):
    strip = phase_strip(compared)
    assert len(strip) <= PREVIEW_BYTES
    colours = picture(strip).reshape(-1, 3).astype(int)
    # ``coolwarm`` has red, with little green; grey and ``cividis`` have none.
    assert np.count_nonzero(colours[:, 0] - colours[:, 1] > 100) > 50


def test_figures_are_the_same_bytes_in_threads_at_once(truth):
    alone = preview(truth)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: preview(truth), range(2))) == [alone, alone]


def test_preview_stays_under_its_limit_for_a_large_noisy_object():
    random = np.random.default_rng(41)
    noise = random.normal(size=(700, 700)) + 1j * random.normal(size=(700, 700))
    data = preview(noise)
    assert len(data) <= PREVIEW_BYTES
    picture(data)


def test_preview_greys_what_is_not_finite(truth):
    holed = truth.copy()
    holed[16:80, 16:80] = np.nan
    # 0.85 of white, on the share of both panels that has no value.
    grey = [np.all(np.abs(picture(preview(o)).astype(int) - round(255 * 0.85)) <= 1, axis=2) for o in (truth, holed)]
    assert grey[0].mean() < 0.01
    assert grey[1].mean() > 0.1


def test_scan_and_frames_are_pictures_under_the_limit(measured, grid):
    x, y = grid(20, 70, 20, 70, 5)
    measurement = measured(1e3, x, y)
    scan = scan_figure(measurement.probe, measurement.scan)
    assert len(scan) <= PREVIEW_BYTES
    picture(scan)
    data = frames_figure(measurement.counts(slice(0, 4)))
    assert len(data) <= PREVIEW_BYTES
    assert picture(data).shape[1] > picture(frames_figure(measurement.counts(slice(0, 1)))).shape[1]


def test_frames_without_a_photon_are_drawn():
    picture(frames_figure(np.zeros((2, 32, 32))))


def test_png_lowers_the_resolution_until_it_fits_and_then_stops():
    figure = Figure(figsize=(4, 4))
    figure.subplots().imshow(np.random.default_rng(42).normal(size=(400, 400)))
    whole = png(figure)
    assert len(png(figure, max_bytes=len(whole) // 4)) <= len(whole) // 4
    # A limit that nothing can keep ends at the least resolution.
    assert picture(png(figure, max_bytes=10)).shape[0] <= 4 * 25


def test_png_is_what_matplotlib_saves():
    def figure():
        made = figures.new_figure(4, 3)
        axis = made.subplots()
        made.colorbar(axis.imshow(np.arange(100.0).reshape(10, 10)), ax=axis)
        axis.set_ylabel("a long label that the layout makes room for")
        return made

    saved = io.BytesIO()
    figure().savefig(saved, format="png", dpi=90)
    assert np.array_equal(picture(png(figure(), dpi=90)), picture(saved.getvalue()))


def test_every_tile_holds_its_own_picture(truth, train_split):
    methods = {"pinn": truth, "lsqml": truth * np.exp(0.4j * np.sin(np.arange(truth.shape[1]) / 3))}
    split = train_split(methods)
    found = tiles(compare_split("train", truth, split, evaluation=EvaluationSettings(), metrics=MetricsConfig()))
    shown = {name: picture(found[name, "phase"]).astype(int) for name in ("truth", "pinn", "lsqml")}
    # The first of a quantity is laid out, the others take its place: a method that found the truth looks like it.
    assert np.abs(shown["pinn"] - shown["truth"]).max() <= 2
    different = np.abs(shown["lsqml"] - shown["truth"]).max(axis=2) > 20
    columns = np.flatnonzero(different.any(axis=0))
    assert different.sum() > 1000
    # Nothing beside the picture differs: neither its frame nor the colour bar.
    assert columns.max() - columns.min() < 0.8 * different.shape[1]


def test_outer_pictures_alone_have_numbers(compared):
    figure = Figure()
    axes = figure.subplots(3, 4, squeeze=False)
    figures._draw_objects(figure, axes, compared, ("phase", "error", "amplitude"))
    named = [[(bool(a.get_xlabel()), bool(a.get_ylabel())) for a in row if a.axison] for row in axes]
    assert named == [
        [(False, True), (False, False), (False, False)],
        [(False, True), (False, False)],
        [(True, True), (True, False), (True, False)],
    ]


def test_pictures_of_a_cell_have_files_that_the_page_knows_by_name(pictures):
    shown = {f"test/{method}/{q}" for method in ("truth", "pinn", "lsqml") for q in QUANTITIES} - {"test/truth/error"}
    shown |= {"test", "train", "test/limit", "train/limit"}
    assert set(pictures) == {f"1000/baseline/{name}" for name in shown}
    assert all(png.startswith(b"\x89PNG") for png in pictures.values())
    for file in ("comparison.json", "comparison_metrics.csv", "limit_test.npz", "loss.png", "result.json"):
        assert picture_name(file) is None


def test_tiles_share_their_scale_and_leave_the_truth_without_error(comparison):
    found = tiles(comparison.splits["test"])
    assert set(found) == {(a, q) for a in ("truth", "pinn", "lsqml") for q in QUANTITIES} - {("truth", "error")}
    assert all(png.startswith(b"\x89PNG") and len(png) < 200_000 for png in found.values())
    assert found["truth", "phase"] != found["pinn", "phase"]


def test_methods_have_different_styles_in_any_number():
    names = [*("legacy_pinn", "pinn", "lsqml", "lsqml_from_pinn", "tv_ml"), *(f"method_{k}" for k in range(9))]
    styles = [tuple(method_style(names, name).values()) for name in names]
    assert len(set(styles)) == len(names)
    assert len({colour for colour, _ in styles[:5]}) == 5


def test_known_methods_keep_their_style_beside_new_ones():
    for names in (["pinn", "lsqml"], ["tv_ml", "pinn", "lsqml"], ["lsqml", "new", "pinn", "legacy_pinn"]):
        assert method_style(names, "pinn")["color"] == "#0072B2"
        assert method_style(names, "lsqml")["color"] == "#D55E00"
