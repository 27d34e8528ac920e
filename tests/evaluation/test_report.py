"""The summary and the report pages, from comparisons of real small arrays."""

import copy
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from fly64_assets.design import load_design
from fly64_assets.evaluation.compare import SplitInput, compare_cell
from fly64_assets.evaluation.figures import cell_figure, phase_strip
from fly64_assets.evaluation.frame import scan_box
from fly64_assets.evaluation.report import dose_figure, render_markdown, render_report
from fly64_assets.evaluation.summary import dose_sentence, study_summary
from fly64_assets.physics.counts import poisson_counts, stored_amplitude
from fly64_assets.physics.forward import exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.measurement import Measurement

N = 32
SKIP = "; ".join(
    f"dose_1000/sparse: {split}: 3 of 91 positions are 51.2 px apart; 4 are needed for gridsize 2 (view skipped)"
    for split in ("train", "test")
)


@pytest.fixture(scope="module")
def comparison():
    """One cell: a good arm, a bad one, and one that failed."""
    rng = np.random.default_rng(5)
    axis = np.arange(110) / 9
    obj = (0.85 + 0.1 * np.sin(axis[:, None])) * np.exp(0.5j * np.sin(axis)[None, :] * np.cos(axis)[:, None])
    grid = np.arange(N) - N / 2
    probe = np.exp(-(grid[:, None] ** 2 + grid[None, :] ** 2) / 60).astype(np.complex64)
    splits = {}
    for split, low in (("train", 16), ("test", 60)):
        x, y = rng.uniform(16, 94, 60), rng.uniform(low, low + 34, 60)
        scale = intensity_scale(1000, exit_wave_energies(obj, probe, x, y))
        counts = poisson_counts(patch_counts(obj, probe, x, y, scale), np.arange(60), 1, 1000)
        amplitude = stored_amplitude(counts, scale)
        measurement = Measurement(amplitude, scale, probe, x, y, obj.shape, np.arange(60))
        arms = {
            "pinn": obj * np.exp(1j * rng.normal(0, 0.05, obj.shape)),
            "lsqml": obj * np.exp(1j * rng.normal(0, 0.9, obj.shape)),
            "other": "failed: <script>alert(1)</script> out of memory",
        }
        splits[split] = SplitInput(measurement=measurement, arms=arms, scan_box=scan_box(x, y))
    design = load_design("demo")
    return compare_cell(1000, "baseline", obj, splits, evaluation=design.evaluation, metrics=design.metrics_config)


def stage(outcome="succeeded", reason=None, stale=None):
    return {"outcome": outcome, "reason": reason, "seconds": 1.5, "stale": bool(stale), "stale_reason": stale}


@pytest.fixture(scope="module")
def summary(comparison):
    design = load_design("demo")
    cells = []
    for dose in design.doses:
        for view in design.views:
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
        "design_sha256": design.sha256(),
        "versions": {"numpy": "2"},
        "artifacts": [{"path": "base.npz", "sha256": "a" * 64, "bytes": 12345}],
    }
    return study_summary(design, cells, provenance)


def test_verdicts_come_first_and_say_who_wins(summary):
    sentence = summary["verdicts"][0]["sentence"]
    assert sentence.startswith(
        "At 1,000 photons per frame, on the half that the network never saw: baseline: pinn is best (pinn 0.0"
    )
    assert "lsqml worse than flat" in sentence
    assert "sparse: no result (train: 3 of 91 positions are 51.2 px apart; 4 are needed for gridsize 2)" in sentence
    assert "the disk is full" in summary["verdicts"][1]["sentence"]


@pytest.mark.parametrize(
    ("pinn", "lsqml", "words"),
    [
        (0.30, 0.40, "no arm beats a flat object (pinn 0.300, lsqml 0.400, flat 0.250 rad)"),
        (0.25, 0.40, "no arm beats a flat object"),
        (0.20, 0.30, "pinn is best (pinn 0.200, lsqml 0.300, flat 0.250 rad; lsqml worse than flat)"),
        (0.200, 0.202, "pinn and lsqml are level (pinn 0.200, lsqml 0.202, flat 0.250 rad; less than 2 % apart)"),
        (0.20, 0.10, "lsqml is best (lsqml 0.100, pinn 0.200, flat 0.250 rad)"),
    ],
)
def test_a_verdict_in_every_case(pinn, lsqml, words):
    errors = {"pinn": pinn, "lsqml": lsqml, "flat": 0.25, "truth": 0.0}
    arms = {arm: {"values": {"phase rmse": error}} for arm, error in errors.items()}
    cell = {"dose": 1000, "view": "dense", "splits": {"test": {"arms": arms}}, "reason": ""}
    assert f"dense: {words}" in dose_sentence(1000, [cell])


@pytest.mark.parametrize(
    ("pinn", "lsqml", "words"),
    [
        ((0.10, 0.11, 0.12), (0.20, 0.21, 0.22), "pinn is best (pinn 0.110 ± 0.006, lsqml 0.210 ± 0.006"),
        ((0.10, 0.11, 0.12), (0.20, 0.21, 0.22), "; significant, p = 0 over 3 repeats"),
        ((0.10, 0.20, 0.15), (0.16, 0.13, 0.19), "pinn and lsqml are level"),
        ((0.10, 0.20, 0.15), (0.16, 0.13, 0.19), "the difference is not significant, p = 0.8"),
        ((0.100, 0.150, 0.120), (0.101, 0.1512, 0.1209), "pinn is best"),
    ],
)
def test_a_verdict_over_repeats_says_whether_it_is_significant(pinn, lsqml, words):
    """Far apart is not enough where the repeats scatter, and close together is enough where they do not."""
    arms = {
        arm: {
            "values": {"phase rmse": float(np.mean(v))},
            "standard_errors": {"phase rmse": float(np.std(v, ddof=1) / np.sqrt(3))},
            "samples": {str(k + 1): x for k, x in enumerate(v)},
        }
        for arm, v in {"pinn": pinn, "lsqml": lsqml, "flat": (0.25, 0.25, 0.25)}.items()
    }
    cell = {"dose": 1000, "view": "dense", "splits": {"test": {"arms": arms}}, "reason": ""}
    assert words in dose_sentence(1000, [cell])


def test_scores_of_repeats_come_as_mean_and_standard_error(comparison):
    """Three documents of one cell, the scores of the second and third moved by known amounts."""
    design = load_design("demo")
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
    one = study_summary(design, [cell], {})["cells"][0]["splits"]["test"]
    first = comparison.splits["test"].value("pinn", "phase", "rmse")
    arm = one["arms"]["pinn"]
    assert one["repeats"] == [1, 2, 3]
    assert arm["values"]["phase rmse"] == pytest.approx(first * 3.4 / 3)
    assert arm["standard_errors"]["phase rmse"] == pytest.approx(first * np.std([1, 1.1, 1.3], ddof=1) / np.sqrt(3))
    assert one["arms"]["flat"]["standard_errors"]["phase rmse"] == 0
    assert arm["values"]["phase psnr"] is not None
    json.dumps(one, allow_nan=False)


def test_outcome_and_verdict_are_separate(summary):
    arms = summary["cells"][0]["splits"]["test"]["arms"]
    assert (arms["lsqml"]["outcome"], arms["lsqml"]["verdict"]) == ("compared", "worse than flat")
    assert (arms["pinn"]["outcome"], arms["pinn"]["verdict"]) == ("compared", "better than flat")
    assert arms["other"]["outcome"] == "missing"
    assert arms["truth"]["values"]["phase rmse"] == pytest.approx(0, abs=1e-7)


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


def test_the_page_is_whole_self_contained_and_escaped(summary, comparison):
    test = comparison.splits["test"]
    figures = {
        "1000/baseline/test": cell_figure(
            test, dose=1000, view="baseline", coverage_threshold=0.1, histories={"pinn": {"loss": [3.0, 2.0]}}
        ),
        "1000/baseline/test/strip": phase_strip(test),
    }
    text = render_report(summary, figures)
    page = Page()
    page.feed(text)
    assert page.open == []
    assert "script" not in page.tags
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "&lt;script&gt;" in text
    assert text.count("worse than flat") >= 2
    value = summary["cells"][0]["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
    assert f"{value:.4g}" in text
    assert not re.search(r"\bnan\b", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text).lower())


def test_markdown_holds_the_same_numbers(summary):
    text = render_markdown(summary)
    value = summary["cells"][0]["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
    assert f"| {value:.4f} |" in text
    assert "(worse than flat)" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_dose_figure_is_a_small_png(summary):
    for split in ("train", "test"):
        content = dose_figure(summary, split)
        assert content.startswith(b"\x89PNG")
        assert len(content) < 200_000
