"""What `fly64 advise` foretells of a study on disk, beside what the study found.

The object is described as a user would describe it, by a similar one: the part of the base's that the positions cover;
of measured frames by the reference object, to which distances are taken then. Prints a row for each cell and method.

Usage: python benchmarks/atlas/check.py STUDY --data-root DIR
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fly64_assets.api.advising import _illumination, _packaged, _specimen
from fly64_assets.evaluation.advice.advising import Atlas
from fly64_assets.evaluation.advice.known import Illumination, Specimen
from fly64_assets.evaluation.atlas.law import Conditions
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import Cell
from fly64_assets.store.layout import Layout
from fly64_assets.study.campaign import view_overlap
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.table import STAGES


def cells(design: StudyDesign, layout: Layout) -> Iterator[tuple[Any, dict[str, Any], float]]:
    """Cell, document of the judged half, and linear overlap of every comparison on disk."""
    for key in STAGES["comparison"].keys(design):
        path = layout.output(key, "comparison.json")
        if not path.is_file():
            continue
        assert isinstance(key.at, Cell)
        part = json.loads(path.read_text())["splits"][JUDGED_SPLIT]
        if part["outcome"] == "compared":
            yield key.at, part, view_overlap(layout, key.at.half(JUDGED_SPLIT))["linear_overlap"]


def expected(
    atlas: Atlas, method: str, photons: float, overlap: float, obj: Specimen, probe: Illumination
) -> tuple[float, float, float]:
    """Expected phase error and its interval [rad]."""
    one = np.ones(1)
    at = Conditions(
        photons * one, overlap * one, obj.spread * one, obj.bandwidth * one, obj.gradient_sparsity * one,
        {name: share * one for name, share in probe.shares.items()},
    )  # fmt: skip
    middle, low, high = (float(values[0]) for values in atlas.errors[method].expect(at))
    return middle, low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--data-root", type=Path, required=True)
    options = parser.parse_args()
    design = load_design(options.study)
    store = ArtifactStore(options.data_root.resolve(), design.name)
    active = store.active_base()
    assert active is not None
    layout = store.layout(active.base_id)
    atlas = _packaged()
    obj, probe = _specimen(layout.base, atlas.rows), _illumination(layout.base, atlas.rows, None)
    for sentence in (*obj.outside, *probe.outside):
        print(f"outside of the atlas: {sentence}")
    metric = "rmse_to_reference" if design.of_measured_frames else "rmse"
    print("| photons / frame | view | photons / px | overlap | method | expected (80 %) | found | inside |")
    print("|---|---|---|---|---|---|---|---|")
    inside = []
    for cell, part, overlap in cells(design, layout):
        photons = part["photons"]["photons_per_pixel"]
        found = {(row["arm"], row["metric"]): row["value"] for row in part["rows"] if row["part"] == "phase"}
        for method in atlas.errors:
            value = found.get((method, metric))
            if value is None:
                continue
            middle, low, high = expected(atlas, method, photons, overlap, obj, probe)
            inside.append(low <= value <= high)
            print(
                f"| {cell.dose:,} | {cell.view} | {photons:.3g} | {100 * overlap:.0f} % | `{method}` | "
                f"{middle:.3f} ({low:.3f}–{high:.3f}) | {value:.3f} | {'yes' if inside[-1] else 'no'} |"
            )
    print(f"\n{sum(inside)} of {len(inside)} inside")


if __name__ == "__main__":
    main()
