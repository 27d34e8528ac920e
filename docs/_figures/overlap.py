"""Windows and discs of light of the three views: ``python docs/_figures/overlap.py`` writes docs/images/overlap.png."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Circle, Rectangle

from fly64_assets.physics.overlap import select_spaced

N, DISC, SIZE, POSITIONS = 64, 32, 448, 1000
VIEWS = {"baseline (full scan)": 0.0, "dense: 0.7": 0.7, "sparse: 0.2": 0.2}
SHOWN = (120, 328)
"""Pixels of the object that are drawn, along both axes."""


def main() -> None:
    """Draw the views beside each other."""
    positions = np.random.default_rng(42).uniform(N // 2, SIZE - N // 2, (POSITIONS, 2))
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.9), layout="constrained")
    for axis, (name, overlap) in zip(axes, VIEWS.items(), strict=True):
        kept = positions
        if overlap:
            kept = positions[select_spaced(positions[:, ::-1], (1 - overlap) * N, N).kept]
        drawn = kept[((kept > SHOWN[0] - DISC) & (kept < SHOWN[1] + DISC)).all(axis=1)]
        middle = drawn[np.hypot(*(drawn - np.mean(SHOWN)).T).argsort()[0]]
        pair = drawn[np.hypot(*(drawn - middle).T).argsort()[:2]]
        for y, x in drawn:
            axis.add_patch(Circle((x, y), DISC / 2, color="tab:orange", alpha=0.25, lw=0))
        for y, x in pair:
            axis.add_patch(Rectangle((x - N / 2, y - N / 2), N, N, fill=False, ec="tab:blue", lw=1.5))
            axis.add_patch(Circle((x, y), DISC / 2, fill=False, ec="tab:red", lw=1.5))
        axis.plot(drawn[:, 1], drawn[:, 0], ".", ms=2, color="black")
        inside = ((drawn > SHOWN[0]) & (drawn < SHOWN[1])).all(axis=1).sum()
        axis.set(xlim=SHOWN, ylim=SHOWN[::-1], aspect="equal", title=f"{name}\n{inside} positions here")
        axis.set_xlabel("object pixels")
    figure.savefig(Path(__file__).parents[1] / "images" / "overlap.png", dpi=110)


if __name__ == "__main__":
    main()
