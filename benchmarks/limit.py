"""The photon limit of a study's views: seconds, its size, and what taking dim pixels as known is worth.

    python benchmarks/limit.py --study demo --view baseline dense --split test
    python benchmarks/limit.py --view baseline dense --split test --known-below 0.01 0.1
    python benchmarks/limit.py --view baseline dense --split test --whole-pixels

    python benchmarks/limit.py --study gaps.yaml --view dense        # bad pixels of the design's section `detector`

No engine runs: base, positions and detector are made as the study makes them. Seconds are those of this machine, wall
and CPU. The limit of the phase in radians is that of the first dose of the design.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from fly64_assets.contract.mask_files import read_mask
from fly64_assets.evaluation.bound import limit as limits
from fly64_assets.evaluation.scores.region import evaluation_region, scan_box
from fly64_assets.physics.overlap import BASELINE, select_spaced
from fly64_assets.physics.scan import SPLITS
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.detector import make_detector
from fly64_assets.simulation.frames import simulate
from fly64_assets.study.design import load_design


def positions(design, base, view):
    """Positions of both splits of a view, and the scale of the amplitudes at the first dose of the design."""
    scan = simulate(
        base,
        dose=design.doses[0],
        scan=design.scan,
        axis=design.train_test_split_axis,
        seed=design.rng_seeds["simulation"],
    )
    found = {}
    for split in SPLITS:
        index = scan.halves[split]
        found[split] = part = scan.positions[index]
        if view != BASELINE:
            coords = np.c_[part.x, part.y]
            found[split] = part[select_spaced(coords, design.spacing_thresholds[view], design.patch_size_pixels).kept]
    return found, scan.scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--view", nargs="+", default=[BASELINE])
    parser.add_argument("--split", nargs="+", default=["test"])
    parser.add_argument("--known-below", nargs="+", type=float, default=[limits.KNOWN_BELOW])
    parser.add_argument("--whole-pixels", action="store_true", help="round the positions, so that no window is blurred")
    options = parser.parse_args()
    design = load_design(options.study)
    base = make_base(design.base, design.patch_size_pixels)
    mask = None if design.mask_path is None else read_mask(design.mask_path)
    bad = make_detector(design.detector, design.patch_size_pixels, mask).bad
    print(
        "view      split  known<  frames  wall s  CPU s  products  phase var / floor      ampl. var / floor  phase rad"
    )
    for view in options.view:
        scans, scale = positions(design, base, view)
        for split in options.split:
            scan = scans[split]
            if options.whole_pixels:
                scan = replace(scan, x=np.round(scan.x), y=np.round(scan.y))
            region = evaluation_region(
                base.probe,
                scan,
                threshold=design.evaluation.coverage_threshold,
                scan_box=scan_box(scan),
                train_scan=scans["train"] if split == "test" else None,
            )
            problem = limits.LimitProblem(base.object, base.probe, scan, region.mask, region.threshold_value, bad)
            photons = (region.illumination * np.abs(base.object) ** 2)[region.mask]
            floor = float((1 / (4 * photons)).mean())
            for share in options.known_below:
                limits.KNOWN_BELOW = share
                wall, cpu = time.perf_counter(), time.process_time()
                found = limits.dose_limit(problem)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                line = f"{view:9} {split:6} {share:6g}  {len(scan):6}  {wall:6.1f}  {cpu:5.1f}  {found.iterations:8}  "
                if found.phase is None:
                    print(line + "; ".join(found.singular))
                    continue
                line += f"{found.phase.variance / floor:6.2f} ± {100 * found.phase.standard_error:3.1f} %  "
                line += f"{found.amplitude.variance / floor:6.2f}             "
                print(line + f"{found.phase.variance**0.5 / scale:.3f}", flush=True)


if __name__ == "__main__":
    main()
