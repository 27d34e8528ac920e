"""Tables of a finished study for the documentation: what every LSQML job reached, and the network against it.

Reads the study's records and metrics; measures nothing itself.

Usage: python benchmarks/study_table.py [--study NAME-or-FILE] [--data-root DIR] [--ratios]
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

from fly64_assets.physics.scan import SPLITS
from fly64_assets.resources.environment import default_data_root
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import Cell, Half, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.states import active_layout

JOB_COLUMNS = (
    "dose", "view", "split", "frames", "phase RMSE [rad]", "amplitude RMSE", "phase SSIM", "phase FRC 0.5 [px]",
    "epochs", "kept", "seconds", "stopped because",
)  # fmt: skip
METRICS = (("phase", "rmse"), ("amplitude", "rmse"), ("phase", "ssim"), ("phase", "frc_05"))
RATIO_COLUMNS = (
    "dose",
    "view",
    "split",
    "flat",
    "pinn",
    "lsqml",
    "pinn / lsqml",
    "lsqml_from_pinn",
    "pinn trained [s]",
)

Metrics = dict[tuple[str, str, str], str]


def metrics_of(layout: Layout, dose: int, view: str) -> dict[str, Metrics]:
    """Values by method, then by (split, part, metric)."""
    path = layout.folder_of(StageKey("comparison", Cell(dose, view))) / "comparison_metrics.csv"
    found: dict[str, Metrics] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["arm"], {})[row["split"], row["part"], row["metric"]] = row["value"]
    return found


def number(values: Metrics, split: str, part: str, metric: str) -> str:
    value = values.get((split, part, metric), "")
    return f"{float(value):.3g}" if metric == "frc_05" and value else f"{float(value):.4f}" if value else "none"


def jobs(store: ArtifactStore, layout: Layout, design: StudyDesign) -> Iterator[tuple[str, ...]]:
    for dose in design.doses:
        for view in design.views:
            values = metrics_of(layout, dose, view).get("lsqml", {})
            for split in SPLITS:
                facts = store.required(layout, StageKey("reconstruction", Half(dose, view, split), "lsqml")).values
                yield (
                    f"{dose:.0e}".replace("e+0", "e"), view, split, str(facts["frames"]),
                    *(number(values, split, part, metric) for part, metric in METRICS),
                    str(facts["epochs_run"]), str(facts["kept_epoch"]), f"{facts['engine_seconds']:.1f}",
                    facts["stop_reason"].split(":")[0],
                )  # fmt: skip


def ratios(store: ArtifactStore, layout: Layout, design: StudyDesign) -> Iterator[tuple[str, ...]]:
    for dose in design.doses:
        for view in design.views:
            arms = metrics_of(layout, dose, view)
            key = StageKey("training", Cell(dose, view), "pinn", design.gridsize(view))
            seconds = store.required(layout, key).values["seconds"]
            for split in SPLITS:
                phase = {arm: values.get((split, "phase", "rmse"), "") for arm, values in arms.items()}
                ratio = f"{float(phase['pinn']) / float(phase['lsqml']):.2f}"
                shown = [f"{float(phase[a]):.4f}" if phase.get(a) else "" for a in ("flat", "pinn", "lsqml")]
                warm = f"{float(phase['lsqml_from_pinn']):.4f}" if phase.get("lsqml_from_pinn") else ""
                yield f"{dose:.0e}".replace("e+0", "e"), view, split, *shown, ratio, warm, f"{seconds:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="fly64")
    parser.add_argument("--data-root", type=Path, default=Path(default_data_root()))
    parser.add_argument("--ratios", action="store_true", help="the network against LSQML instead of LSQML's jobs")
    options = parser.parse_args()
    design = load_design(options.study)
    store = ArtifactStore(options.data_root, design.name)
    layout = active_layout(store)
    columns, rows = (RATIO_COLUMNS, ratios) if options.ratios else (JOB_COLUMNS, jobs)
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows(store, layout, design):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
