"""The summary and the report pages, from comparisons of real small arrays."""

import base64
import copy
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fly64_assets.evaluation.report.figures import (
    QUANTITIES,
    cell_pictures,
    loss_history,
    method_style,
    picture_name,
    tiles,
)
from fly64_assets.evaluation.report.markdown import render_markdown
from fly64_assets.evaluation.report.page import data_uri, render_report
from fly64_assets.evaluation.report.plots import correlation_figure, dose_figure, photon_figure, study_plots
from fly64_assets.evaluation.report.summary import TABLE_COLUMNS, dose_sentence, study_summary, study_table
from fly64_assets.evaluation.scores.compare import SplitInput, compare_cell
from fly64_assets.evaluation.scores.region import scan_box
from fly64_assets.physics.counts import poisson_counts, stored_amplitude
from fly64_assets.physics.forward import exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan
from fly64_assets.study.design import load_design

N = 32
DESIGN = load_design("demo")
SKIP = "; ".join(
    f"dose_1000/sparse: {split}: 3 of 91 positions are 51.2 px apart; 4 are needed for gridsize 2 (view skipped)"
    for split in ("train", "test")
)


@pytest.fixture(scope="module")
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


def summary_of(cells, provenance=None):
    views = [{"name": view, "gridsize": 1, "overlap": 0.5, "spacing_px": 16.0} for view in DESIGN.views]
    design = DESIGN.to_dict()
    return study_summary(DESIGN.name, DESIGN.doses, views, cells, design=design, provenance=provenance or {})


def stage(outcome="succeeded", reason=None, stale=None):
    return {"outcome": outcome, "reason": reason, "seconds": 1.5, "stale": bool(stale), "stale_reason": stale}


@pytest.fixture(scope="module")
def summary(comparison):
    cells = []
    for dose in DESIGN.doses:
        for view in DESIGN.views:
            cell = {"dose": dose, "view": view, "stages": {"view": stage()}, "comparisons": {}, "overlap": {}}
            if (dose, view) == (1000, "baseline"):
                cell |= {
                    "comparisons": {1: comparison.to_dict()},
                    "overlap": {"test": {"metric_2_image_based_avg": 0.4}},
                }
            elif view == "sparse" and dose == 1000:
                cell["stages"] = {"view": stage("skipped", SKIP), "pinn training": stage("skipped", SKIP)}
            elif view == "dense":
                cell["stages"] = {"view": stage(stale="parameter neighbor_count changed (7 then, 5 now)")}
            else:
                cell["stages"] = {"view": stage("failed", "the disk is full")}
            cells.append(cell)
    provenance = {
        "base_id": "demo_12345678",
        "base_sha256": "a" * 64,
        "design_sha256": DESIGN.sha256(),
        "versions": {"numpy": "2"},
        "artifacts": [{"path": "base.npz", "sha256": "a" * 64, "bytes": 12345}],
    }
    return summary_of(cells, provenance)


def test_verdicts_come_first_and_say_who_wins(summary):
    sentence = summary["verdicts"][0]["sentence"]
    assert sentence.startswith(
        "At 1,000 photons per frame, on the test half, which no method was trained on: baseline: pinn is best (pinn 0.0"
    )
    assert "lsqml worse than the uniform object" in sentence
    assert "sparse: no result (train: 3 of 91 positions are 51.2 px apart; 4 are needed for gridsize 2)" in sentence
    assert "the disk is full" in summary["verdicts"][1]["sentence"]


@pytest.mark.parametrize(
    ("pinn", "lsqml", "words"),
    [
        (0.30, 0.40, "no method is better than a uniform object (pinn 0.300, lsqml 0.400, uniform object 0.250 rad)"),
        (0.25, 0.40, "no method is better than a uniform object"),
        (
            0.20,
            0.30,
            "pinn is best (pinn 0.200, lsqml 0.300, uniform object 0.250 rad; lsqml worse than the uniform object)",
        ),
        (
            0.200,
            0.202,
            "pinn and lsqml are not distinguishable (pinn 0.200, lsqml 0.202, uniform object 0.250 rad; "
            "less than 2 % apart)",
        ),
        (0.20, 0.10, "lsqml is best (lsqml 0.100, pinn 0.200, uniform object 0.250 rad)"),
    ],
)
def test_a_verdict_in_every_case(pinn, lsqml, words):
    errors = {"pinn": pinn, "lsqml": lsqml, "flat": 0.25, "truth": 0.0}
    methods = {method: {"values": {"phase rmse": error}} for method, error in errors.items()}
    cell = {"dose": 1000, "view": "dense", "splits": {"test": {"arms": methods}}, "reason": ""}
    assert f"dense: {words}" in dose_sentence(1000, [cell])


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({"third": 0.25}, "pinn and lsqml are not distinguishable, ahead of third (pinn 0.200"),
        # The third is level with the second, but not with the best.
        ({"lsqml": 0.203, "third": 0.2045}, "pinn and lsqml are not distinguishable (pinn 0.200"),
        ({"third": 0.202}, "pinn, lsqml and third are not distinguishable (pinn 0.200"),
        ({"third": 0.202, "tv_ml": 0.23}, "pinn, lsqml and third are not distinguishable, ahead of tv_ml (pinn 0.200"),
        ({"third": 0.15, "tv_ml": 0.1}, "tv_ml is best (tv_ml 0.100, third 0.150, pinn 0.200, lsqml 0.201"),
        ({"third": 0.35, "tv_ml": 0.4}, "rad; third and tv_ml worse than the uniform object; less than 2 % apart)"),
        ({"third": None, "tv_ml": None}, "pinn and lsqml are not distinguishable (pinn 0.200, lsqml 0.201, uniform"),
    ],
)
def test_a_verdict_on_more_than_two_methods(errors, words):
    errors = {"pinn": 0.200, "lsqml": 0.201, "flat": 0.3, "truth": 0.0} | errors
    methods = {method: {"values": {"phase rmse": error}} for method, error in errors.items()}
    cell = {"dose": 1000, "view": "dense", "splits": {"test": {"arms": methods}}, "reason": ""}
    assert words in dose_sentence(1000, [cell])


def repeated(errors):
    """The sentence on methods with an error in each of some repeats."""
    methods = {
        method: {
            "values": {"phase rmse": float(np.mean(v))},
            "standard_errors": {"phase rmse": float(np.std(v, ddof=1) / np.sqrt(len(v)))},
            "samples": {str(k + 1): x for k, x in enumerate(v)},
        }
        for method, v in errors.items()
    }
    return dose_sentence(1000, [{"dose": 1000, "view": "dense", "splits": {"test": {"arms": methods}}, "reason": ""}])


@pytest.mark.parametrize(
    ("pinn", "lsqml", "words"),
    [
        ((0.10, 0.11, 0.12), (0.20, 0.21, 0.22), "pinn is best (pinn 0.110 ± 0.006, lsqml 0.210 ± 0.006"),
        ((0.10, 0.11, 0.12), (0.20, 0.21, 0.22), "; significant, p = 0 over 3 repeats"),
        ((0.10, 0.20, 0.15), (0.16, 0.13, 0.19), "pinn and lsqml are not distinguishable"),
        ((0.10, 0.20, 0.15), (0.16, 0.13, 0.19), "the difference is not significant, p = 0.8"),
        ((0.100, 0.150, 0.120), (0.101, 0.1512, 0.1209), "pinn is best"),
    ],
)
def test_a_verdict_over_repeats_says_whether_it_is_significant(pinn, lsqml, words):
    """Far apart is not enough where the repeats scatter, and close together is enough where they do not."""
    assert words in repeated({"pinn": pinn, "lsqml": lsqml, "flat": (0.25, 0.25, 0.25)})


def test_repeats_decide_between_many_methods_against_the_best_one():
    best, noise = np.array([0.10, 0.11, 0.12, 0.13]), np.array([0.03, -0.025, 0.02, -0.02])
    errors = {
        "pinn": best,
        "close": best + 0.001 + noise,
        "lsqml": best + 0.05,
        "tv_ml": best + np.array([0.02, 0.021, 0.02, 0.019]),
    }
    sentence = repeated(errors)
    assert "pinn and close are not distinguishable (pinn 0.115" in sentence
    assert "; the difference is not significant, p = " in sentence
    # Not ahead of tv_ml: the scatter of one of the two leaders does not allow to say so.
    assert "ahead" not in sentence
    del errors["close"]
    assert "dense: pinn is best" in repeated(errors)
    assert re.search(r"; significant, p ≤ \S+ over 4 repeats\)", repeated(errors))


def test_scores_of_repeats_come_as_mean_and_standard_error(comparison):
    """Three documents of one cell, the scores of the second and third moved by known amounts."""
    documents = {}
    for repeat, factor in ((1, 1.0), (2, 1.1), (3, 1.3)):
        document = copy.deepcopy(comparison.to_dict())
        for row in document["splits"]["test"]["rows"]:
            if row["arm"] == "pinn" and row["value"] is not None:
                row["value"] *= factor
        documents[repeat] = document
    cell = {
        "dose": 1000, "view": "baseline", "stages": {"view": stage()}, "comparisons": documents, "overlap": {}
    }  # fmt: skip
    one = summary_of([cell])["cells"][0]["splits"]["test"]
    first = comparison.splits["test"].value("pinn", "phase", "rmse")
    method = one["arms"]["pinn"]
    assert one["repeats"] == [1, 2, 3]
    assert method["values"]["phase rmse"] == pytest.approx(first * 3.4 / 3)
    assert method["standard_errors"]["phase rmse"] == pytest.approx(first * np.std([1, 1.1, 1.3], ddof=1) / np.sqrt(3))
    assert one["arms"]["flat"]["standard_errors"]["phase rmse"] == 0
    assert method["values"]["phase psnr"] is not None
    json.dumps(one, allow_nan=False)


def test_outcome_and_verdict_are_separate(summary):
    methods = summary["cells"][0]["splits"]["test"]["arms"]
    assert (methods["lsqml"]["outcome"], methods["lsqml"]["verdict"]) == ("compared", "worse than flat")
    assert (methods["pinn"]["outcome"], methods["pinn"]["verdict"]) == ("compared", "better than flat")
    assert methods["other"]["outcome"] == "missing"
    assert methods["truth"]["values"]["phase rmse"] == pytest.approx(0, abs=1e-7)


def test_skips_failures_and_stale_cells_are_listed_once(summary):
    assert [(entry["cell"], entry["stage"]) for entry in summary["skips"]] == [
        ("dose_1000/sparse", "view, pinn training")
    ]
    assert len(summary["failures"]) == 4
    assert {entry["reason"] for entry in summary["stale"]} == {"parameter neighbor_count changed (7 then, 5 now)"}


class Page(HTMLParser):
    """Collects tags and links, and checks that tags close."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pictures(comparison):
    """What the comparison asset hands to the page for one cell."""
    histories = {split: {"pinn": loss_history(np.array([3.0, 2.0]))} for split in ("train", "test")}
    files = cell_pictures(comparison, coverage_threshold=0.1, histories=histories)
    return {f"1000/baseline/{picture_name(file)}": png for file, png in files.items()}


def test_pictures_of_a_cell_have_files_that_the_page_knows_by_name(pictures):
    shown = {f"test/{method}/{q}" for method in ("truth", "pinn", "lsqml") for q in QUANTITIES} - {"test/truth/error"}
    shown |= {"test", "train", "test/limit", "train/limit"}
    assert set(pictures) == {f"1000/baseline/{name}" for name in shown}
    assert all(png.startswith(b"\x89PNG") for png in pictures.values())
    for file in ("comparison.json", "comparison_metrics.csv", "limit_test.npz", "loss.png", "result.json"):
        assert picture_name(file) is None


@pytest.fixture(scope="module")
def page(summary, pictures):
    return render_report(summary, pictures | study_plots(summary))


def test_the_page_is_whole_self_contained_and_escaped(summary, page):
    found = Page()
    found.feed(page)
    assert found.open == []
    assert "script" not in found.tags
    assert len([link for link in found.links if link.startswith("data:image/webp;base64,")]) > 10
    # Nothing but inline pictures and places on the page itself.
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in found.links)
    assert "url(" not in page
    assert "@import" not in page
    assert "&lt;script&gt;" in page
    assert page.count("worse than the uniform object") >= 2
    assert "flat" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).split("<h2>Provenance")[0].replace("-flat", "")
    value = summary["cells"][0]["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
    assert f"{value:.4g}" in page
    assert not re.search(r"\bnan\b", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).lower())


def test_verdicts_come_before_any_picture_and_table(page):
    assert page.index('class="verdict"') < min(page.index("<img"), page.index("<table"))


def test_a_switch_shows_every_method_in_every_quantity(summary, page):
    """One pair of buttons and one rule per method and quantity; every tile hangs on exactly one rule."""
    for method in ("truth", *summary["arms"]):
        assert page.count(f'id="method-{method}"') == page.count(f'for="method-{method}">') == 1
        for quantity in QUANTITIES:
            assert f"#method-{method}:checked ~ #show-{quantity}:checked ~ main .of-{method}.is-{quantity}" in page
            compared = page.count(f'class="tile of-{method} is-{quantity}"')
            absent = page.count(f'class="none of-{method} is-{quantity}"')
            assert compared + absent == 1
    assert "The truth has no error." in page
    assert page.count(" checked>") == 2


def test_tiles_share_their_scale_and_leave_the_truth_without_error(comparison):
    found = tiles(comparison.splits["test"])
    assert set(found) == {(a, q) for a in ("truth", "pinn", "lsqml") for q in QUANTITIES} - {("truth", "error")}
    assert all(png.startswith(b"\x89PNG") and len(png) < 200_000 for png in found.values())
    assert found["truth", "phase"] != found["pinn", "phase"]


def test_the_page_says_bound_efficiency_and_what_they_are_good_for(summary, page):
    limit = summary["cells"][0]["splits"]["test"]["limit"]
    assert limit["state"] == "regular"
    assert f"Bound of unbiased estimates {limit['phase_rad']:.3g} rad" in page
    assert "one above 1 that a prior or regularisation dominates" in page
    value = summary["cells"][0]["splits"]["test"]["arms"]["lsqml"]["values"]["phase efficiency"]
    assert value > 0
    singular = copy.deepcopy(summary)
    one = singular["cells"][0]["splits"]["test"]
    one["limit"] |= {"state": "singular", "reason": "singular: 28 groups without common light", "phase_rad": None}
    for method in one["arms"].values():
        method["values"]["phase efficiency"] = None
    text = render_report(singular, {})
    assert "No bound: singular: 28 groups without common light" in text
    assert ">singular</td>" in text
    assert "| singular |" in render_markdown(singular)


def test_the_table_for_a_notebook_holds_every_score_with_its_reason(comparison):
    documents = {1: comparison.to_dict(), 2: comparison.to_dict()}
    text = study_table([{"dose": 1000, "view": "baseline", "comparisons": documents}]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == TABLE_COLUMNS
    assert len(rows) == 2 * sum(len(split.rows) for split in comparison.splits.values())
    assert {row["repeat"] for row in rows} == {"1", "2"}
    assert all(row["value"] or row["reason"] for row in rows)
    one = next(r for r in rows if (r["split"], r["arm"], r["part"], r["metric"]) == ("test", "pinn", "phase", "rmse"))
    assert float(one["value"]) == comparison.splits["test"].value("pinn", "phase", "rmse")
    assert one["limit"] == "regular"


def test_methods_have_different_styles_in_any_number():
    names = [*("legacy_pinn", "pinn", "lsqml", "lsqml_from_pinn", "tv_ml"), *(f"method_{k}" for k in range(9))]
    styles = [tuple(method_style(names, name).values()) for name in names]
    assert len(set(styles)) == len(names)
    assert len({colour for colour, _ in styles[:5]}) == 5


def test_known_methods_keep_their_style_beside_new_ones():
    for names in (["pinn", "lsqml"], ["tv_ml", "pinn", "lsqml"], ["lsqml", "new", "pinn", "legacy_pinn"]):
        assert method_style(names, "pinn")["color"] == "#0072B2"
        assert method_style(names, "lsqml")["color"] == "#D55E00"


def test_frames_per_second_belong_to_the_stages_own_split(comparison):
    stages = {name: stage() for name in ("view", "pinn inference", "lsqml reconstruction test")}
    cell = {
        "dose": 1000, "view": "baseline", "stages": stages, "comparisons": {1: comparison.to_dict()}, "overlap": {}
    }  # fmt: skip
    rates = summary_of([cell])["cells"][0]["frames_per_second"]
    assert rates == {"pinn inference": pytest.approx(120 / 1.5), "lsqml reconstruction test": pytest.approx(60 / 1.5)}


def test_markdown_holds_the_same_numbers(summary):
    text = render_markdown(summary)
    value = summary["cells"][0]["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
    assert f"| {value:.4f} |" in text
    bound = summary["cells"][0]["splits"]["test"]["limit"]["phase_rad"]
    assert f"| {bound:.3g} |" in text
    assert "(worse than the uniform object)" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_study_figures_are_small_pngs_with_ink_of_every_method(summary):
    from matplotlib import colors, image

    for figure in (dose_figure, photon_figure, correlation_figure):
        content = figure(summary, "test")
        assert len(content) < 200_000
        pixels = image.imread(io.BytesIO(content))[..., :3]
        for method in ("pinn", "lsqml"):
            ink = np.array(colors.to_rgb(method_style(summary["arms"], method)["color"]))
            assert np.any(np.abs(pixels - ink).max(axis=-1) < 0.02)


@pytest.mark.parametrize("dose", [1000, 10_000, 100_000])
def test_a_study_with_a_single_result_can_be_drawn(summary, dose):
    """One point in one panel: no axis may shrink to a number (warnings are errors here)."""
    cells = [cell | {"dose": dose} for cell in summary["cells"] if cell["splits"]]
    assert len(cells) == 1
    assert dose_figure(summary | {"cells": cells}, "test").startswith(b"\x89PNG")


def test_a_cell_without_a_valid_comparison_says_that_it_is_out_of_date(summary):
    dense = next(cell for cell in summary["cells"] if cell["view"] == "dense")
    assert dense["splits"] == {}
    assert dense["reason"] == "parameter neighbor_count changed (7 then, 5 now)"


def test_study_figures_exist_before_anything_was_compared(summary):
    empty = summary | {"cells": [cell | {"splits": {}} for cell in summary["cells"]], "arms": []}
    for figure in (dose_figure, photon_figure, correlation_figure):
        assert figure(empty, "test").startswith(b"\x89PNG")
    assert "No result." in render_report(empty, {})


def test_pictures_of_the_page_are_much_smaller_than_the_files_and_look_the_same():
    """Lossy where noise is shown, exact where lines are."""
    noise = np.random.default_rng(7).normal(size=(120, 240))
    for draw, lossless in (
        (lambda axis: axis.imshow(noise, cmap="coolwarm"), False),
        (lambda axis: axis.plot(noise[0]), True),
    ):
        png = drawn(draw)
        found = base64.b64decode(data_uri(png, lossless=lossless).removeprefix("data:image/webp;base64,"))
        assert len(found) < (1.0 if lossless else 0.5) * len(png)
        one, other = (
            np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=float) for picture in (png, found)
        )
        assert one.shape == other.shape
        error = np.sqrt(np.mean((one - other) ** 2))
        assert error == 0 if lossless else error < 12


def drawn(draw):
    figure = Figure(figsize=(4, 3))
    draw(figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
