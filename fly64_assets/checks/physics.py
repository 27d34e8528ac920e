"""``physics``: simulated frames hold whole photons, as many as the dose says, and obey Parseval's theorem."""

import math
from collections.abc import Sequence

import numpy as np

from fly64_assets.checks.factory import Subject
from fly64_assets.contract.npz import load_dataset
from fly64_assets.physics.forward import exit_wave_energies, patch_counts
from fly64_assets.physics.scan import SPLITS

SAMPLE = 16
"""Frames of each half on which Parseval's theorem is checked."""


def physics(subject: Subject) -> Sequence[str]:
    """Parseval, integer counts and dose of one simulated data set."""
    dose, repeat = subject.record.key.dose or 0, subject.record.key.repeat
    problems: list[str] = []
    photons, frames = 0.0, 0
    for split in SPLITS:
        dataset = load_dataset(subject.layout.patched(dose, split, repeat))
        scale = dataset.intensity_scale
        for part, counts in dataset.measurement().count_blocks():
            amplitude = np.asarray(dataset.diffraction[part], dtype=np.float64)
            if np.abs((scale * amplitude) ** 2 - counts).max(initial=0) > 0.05:
                problems.append(f"{split}: counts of frames {part.start} ... {part.stop - 1} are not whole numbers")
            photons += float(counts.sum())
        frames += dataset.frames
        scan = dataset.scan[:SAMPLE]
        detected = patch_counts(dataset.object, dataset.probe, scan, scale).sum(axis=(1, 2))
        emitted = scale**2 * exit_wave_energies(dataset.object, dataset.probe, scan)
        if not np.allclose(detected, emitted, rtol=1e-6):
            problems.append(f"{split}: Parseval's theorem fails: photons on the detector differ from the exit wave's")
    if abs(photons / frames - dose) > 5 * math.sqrt(dose / frames):
        problems.append(f"{photons / frames:.2f} photons per frame on average; the dose is {dose}")
    return problems
