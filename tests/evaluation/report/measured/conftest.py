"""Comparison documents of measured frames by hand, and the summary of a study that holds them."""

import numpy as np
import pytest

from fly64_assets.evaluation.report.measured.probe import probe_health
from fly64_assets.evaluation.report.measured.summary import measured_summary
from fly64_assets.study.design import load_design

DESIGN = load_design("measured")
DOSES = (1000, 10_000, 100_000)
FRAMES = 129
DOSE_SKIP = "{cell}: 1,000,000 photons per frame are not below the 456,789 that were measured: a lower dose is needed"


def _curve(period):
    """A ring correlation that falls to one half at a full period [px]."""
    frequency = np.linspace(0.005, 0.5, 60)
    correlation = 1 / (1 + (frequency * period) ** 6)
    half_bit = 0.17 + 0.4 * np.exp(-frequency * 20)
    return {"frequency_per_px": frequency.tolist(), "correlation": correlation.tolist(), "half_bit": half_bit.tolist()}


def _row(arm, part, metric, value, reason=None):
    return {"arm": arm, "part": part, "metric": metric, "value": value, "reason": reason}


def _rows(arm, view, scores):
    """Rows of one object: (complement, its error, relative, left out, its error, period), or why there are none."""
    if isinstance(scores, str):
        metrics = ("complement", "complement_error", "complement_relative", "left_out", "left_out_error")
        return [_row(arm, "counts", metric, None, scores) for metric in metrics]
    excess, error, relative, left_out, left_out_error, period = scores
    none = "baseline leaves no frame out" if view == "baseline" else None
    return [
        _row(arm, "counts", "complement", excess),
        _row(arm, "counts", "complement_error", error),
        _row(arm, "counts", "complement_relative", relative),
        _row(arm, "counts", "left_out", None if none else left_out, none),
        _row(arm, "counts", "left_out_error", None if none else left_out_error, none),
        *(
            _row(arm, "complex", f"frc_{pair}_{threshold}", period and period * factor, None if period else "no pair")
            for pair, factor in (("photons", 1.0), ("frames", 1.2))
            for threshold in ("half_bit", "05")
        ),
        _row(arm, "phase", "rmse_to_reference", 0.1, "biased towards the solver that made the reference"),
        _row(arm, "amplitude", "rmse_to_reference", 0.05, "biased towards the solver that made the reference"),
        _row(arm, "phase", "rmse", None, "not available: measured data"),
        _row(arm, "phase", "efficiency", None, "not available: measured data"),
    ]


def _contest(score, winner, loser, p, nats=5.0):
    words = f"{winner} beats {loser}" if p < 0.05 else f"{winner} and {loser} are not distinguishable"
    return {
        "score": score,
        "winner": winner if p < 0.05 else None,
        "loser": loser if p < 0.05 else None,
        "p": p,
        "frames": FRAMES,
        "sentence": f"{words} ({score}, {nats:.3g} nats per frame; p = {p:.2g} over {FRAMES} frames)",
    }


def _document(dose, view, scores, contests=(), verdicts=None):
    """A comparison document whose halves have equal scores; a text instead of scores is a method without a result."""
    objects = {"flat": (5000.0, 20.0, 1.0, 5100.0, 30.0, None), "reference": (0.0, 0.0, 0.0, 0.0, 0.0, None)}
    arms, rows, frc = {}, [], {}
    for name, values in (scores | objects).items():
        missing = isinstance(values, str)
        verdict = None if missing or name in objects else (verdicts or {}).get(name, "better than flat")
        arms[name] = {
            "outcome": "missing" if missing else "compared",
            "reason": values if missing else None,
            "verdict": verdict,
            "alignment": None,
        }
        rows += _rows(name, view, values)
        if not missing:
            period = values[-1]
            frc[name] = {"reference": _curve(5.0)}
            if period:
                frc[name] |= {"photons": _curve(period), "frames": _curve(1.2 * period)}
    splits = {
        split: {
            "split": split,
            "outcome": "compared",
            "reason": None,
            "primary": "counts complement",
            "region": {"covered_fraction": 0.83, "probe_diameter_px": 31.0},
            "photons": {
                "frames": FRAMES,
                "photons_per_pixel": dose / 40,
                "phase_floor_rad": 0.5 / (dose / 40) ** 0.5,
                "evaluated_at": "reference object",
            },
            "limit": {"state": "none", "reason": "too many pixels", "phase_rad": None, "amplitude": None},
            "arms": arms,
            "contests": list(contests),
            "rows": rows,
            "frc": frc,
            "measured": {
                "measured_photons": 456_789.0,
                "fraction": dose / 456_789,
                "complement_photons": 456_789.0 - dose,
                "left_out_frames": 0 if view == "baseline" else 77,
                "reference_note": "The reference is no truth.",
            },
        }
        for split in ("train", "test")
    }
    return {"version": 2, "dose": dose, "view": view, "splits": splits}


def _probe(side=32, width=5.0, curvature=0.02):
    axis = np.arange(side) - side / 2
    radius = axis[:, None] ** 2 + axis[None, :] ** 2
    return (20 * np.exp(-radius / (2 * width**2) + 1j * curvature * radius)).astype(np.complex64)


def _calibration():
    names = ("as stored", "rotate-180", "flip-x", "flip-y")
    residual = {"before": 1.31, "after": 1.12, "expected": 1.02, "explained": 0.65}
    return {
        "calibrated": True,
        "frames": 258,
        "measured_photons": 456_789.0,
        "bad_pixels": 120,
        "seconds": 512.3,
        "settings": {"calibrate": True, "refine_positions": False, "epochs": 100},
        "kept_epoch": 61,
        "epochs_run": 71,
        "stop_reason": "the counts kept aside became less probable",
        "deviance": 1.31,
        "expected_deviance": 1.02,
        "first_probe_scale": 3.2,
        "positions": {"refined": False, "rms_shift_px": 0.0, "largest_shift_px": 0.0},
        "probe_change": 0.12,
        "orientations": {
            "frames": 100,
            "epochs": 15,
            "held_out_deviance_per_pixel": dict(zip(names, (1.4, 1.4, 3.3, 3.2), strict=True)),
        },
        "halves": {
            "scores": {"frc_half_bit": {"value": 3.1, "reason": None}, "frc_05": {"value": 3.4, "reason": None}},
            "frc": _curve(3.1),
        },
        "deviations": {
            "smooth": residual | {"counts": 812.0, "sentence": "a smooth background of 812 counts explains 65 %"},
            "mode": residual | {"share": 0.03, "sentence": "a further incoherent mode with 3 % explains <little>"},
        },
    }


SCORES = {
    1000: {"pinn": (410.0, 6.0, 0.08, 420.0, 9.0, 12.0), "lsqml": (900.0, 9.0, 0.18, 950.0, 12.0, 16.0)},
    10_000: {"pinn": (52.0, 2.0, 0.01, 55.0, 3.0, 7.0), "lsqml": (53.0, 2.1, 0.0105, 51.0, 3.0, 6.5)},
    100_000: {"pinn": (9.0, 0.6, 0.0018, 10.0, 1.0, 5.0), "lsqml": (3.2, 0.4, 0.0006, 3.0, 0.8, 4.0)},
}
CONTESTS = {
    1000: [_contest("complement", "pinn", "lsqml", 1e-9), _contest("left_out", "pinn", "lsqml", 1e-7)],
    10_000: [_contest("complement", "pinn", "lsqml", 0.4), _contest("left_out", "lsqml", "pinn", 0.03)],
    100_000: [_contest("complement", "lsqml", "pinn", 0.002), _contest("left_out", "lsqml", "pinn", 1e-4)],
}


def _stage(outcome="succeeded", reason=None, stale=None):
    return {"outcome": outcome, "reason": reason, "seconds": 1.5, "stale": bool(stale), "stale_reason": stale}


def _summary_of(cells, *, doses=DOSES, seeds=None, artifacts=()):
    views = [{"name": view, "gridsize": 1, "overlap": 0.5, "spacing_px": 16.0} for view in DESIGN.views]
    provenance = {
        "seeds": seeds or {"simulation": 42, "repeats": [1], "training": [123]},
        "base_id": "star_12345678",
        "base_sha256": "a" * 64,
        "design_sha256": DESIGN.sha256(),
        "versions": {"numpy": "2", "fly64-assets": "0"},
        "made": {
            "time": "2026-01-02T03:04:05+00:00",
            "host": "here",
            "cores": 2,
            "load": [0.1, 0.2, 0.3],
            "command": "fly64 run",
        },
        "artifacts": list(artifacts),
    }
    return measured_summary(
        DESIGN.name,
        doses,
        views,
        cells,
        design=DESIGN.to_dict(),
        provenance=provenance,
        calibration=_calibration(),
        probes=probe_health(_probe(curvature=0.0), _probe()),
    )


def _cell(dose, view, document=None, stage=None):
    found = {"view": stage or _stage()}
    comparisons = {} if document is None else {1: document}
    return {"dose": dose, "view": view, "stages": found, "comparisons": comparisons, "overlap": {}}


@pytest.fixture(scope="session")
def summary():
    """Three doses with results in baseline and dense, where a method failed; sparse is skipped, and so is a dose."""
    other = {"tv_ml": "failed: <script>alert(1)</script> out of memory"}
    cells = []
    for dose in DOSES:
        scores = SCORES[dose] | other
        cells += [_cell(dose, v, _document(dose, v, scores, CONTESTS[dose])) for v in ("baseline", "dense")]
        skip = _stage("skipped", f"dose_{dose}/sparse: test: 3 of 91 positions are 102.4 px apart (view skipped)")
        cells.append(_cell(dose, "sparse", stage=skip))
    for view in DESIGN.views:
        reason = DOSE_SKIP.format(cell=f"dose_1000000/{view}")
        cells.append(_cell(1_000_000, view, stage=_stage("skipped", reason)))
    return _summary_of(cells, doses=(*DOSES, 1_000_000))


@pytest.fixture(scope="session")
def summary_of():
    return _summary_of


@pytest.fixture(scope="session")
def document():
    return _document


@pytest.fixture(scope="session")
def contest():
    return _contest


@pytest.fixture(scope="session")
def cell():
    return _cell


@pytest.fixture(scope="session")
def probes():
    """A first probe and the calibrated one."""
    return _probe(curvature=0.0), _probe()
