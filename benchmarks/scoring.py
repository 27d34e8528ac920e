"""Memory and time of scoring one method, a uniform object and the truth on an object of any size.

    python benchmarks/scoring.py --quick
    python benchmarks/scoring.py --size 10000
    python benchmarks/scoring.py --size 2000 --shift 0.3

One process, the whole of ``compare_split`` but the photon limit: region, alignment, every metric, ring correlations and
the likelihood. The peak is the process's resident memory above what it was before the first array, in copies of the
object as complex64; both objects, the truth and the reconstruction, are two of them. Frames are computed from the truth
when they are read, noise-free, as a store of frames would hand them out, so that they take no memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time

import numpy as np
import scipy.fft
import scipy.ndimage

from fly64_assets.evaluation.scores.bands import bands
from fly64_assets.evaluation.scores.compare import SplitInput, compare_split
from fly64_assets.evaluation.scores.region import scan_box
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan

PROBE_SIDE = 64
STEP_PX = 24
PHOTONS_PER_FRAME = 1e4


class ComputedFrames:
    """Amplitudes of the requested frames, for an intensity scale of 1 or more."""

    def __init__(self, truth, probe, scan, scale):
        self.truth, self.probe, self.scan, self.scale = truth, probe, scan, scale

    def __getitem__(self, frames):
        counts = np.rint(patch_counts(self.truth, self.probe, self.scan[frames], self.scale))
        return (np.sqrt(counts) / self.scale).astype(np.float32)


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def smooth_object(size: int) -> np.ndarray:
    """Object (size, size) complex64 of smooth random amplitude and phase, made in bands."""
    obj = np.empty((size, size), np.complex64)
    for part in bands(obj.shape):
        random = np.random.default_rng([1, part.start])
        amplitude, phase = (
            scipy.ndimage.gaussian_filter(random.normal(size=(part.stop - part.start, size)).astype(np.float32), 2.0)
            for _ in range(2)
        )
        obj[part] = (0.85 + 0.5 * amplitude) * np.exp(2j * phase)
    return obj


def reconstruction_of(truth: np.ndarray, shift: float) -> np.ndarray:
    """The truth with phase noise of 0.1 rad and a global factor, displaced along y, made in bands."""
    found = np.empty_like(truth)
    for part in bands(truth.shape):
        noise = np.random.default_rng([2, part.start]).normal(0, 0.1, (part.stop - part.start, truth.shape[1]))
        found[part] = 1.3j * truth[part] * np.exp(1j * noise.astype(np.float32))
    if shift:
        for part in bands(truth.T.shape):
            columns = (slice(None), part)
            found[columns] = scipy.ndimage.shift(found[columns], (shift, 0), order=5, mode="nearest")
    return found


def disc_probe() -> np.ndarray:
    """Soft disc (64, 64) complex64 of 16 px radius with curvature."""
    rows, columns = np.indices((PROBE_SIDE, PROBE_SIDE)) - PROBE_SIDE // 2
    radius = np.hypot(rows, columns) / 16
    return (np.exp(4j * radius**2) / (1 + np.exp(12 * (radius - 1)))).astype(np.complex64)


def no_limit(_problem):
    raise ValueError("the photon limit is not part of this measurement")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4000, help="side of the object in pixels")
    parser.add_argument("--shift", type=float, default=0.0, help="displacement of the reconstruction along y in pixels")
    parser.add_argument("--quick", action="store_true", help="a side of 1000 px")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    size = 1000 if options.quick else options.size
    # What a process holds without any picture: libraries, and the plans of a first small transform.
    scipy.fft.fft2(np.ones((8, 8)))
    before = peak_bytes()
    truth = smooth_object(size)
    reconstruction = reconstruction_of(truth, options.shift)
    made = peak_bytes()
    probe = disc_probe()
    y, x = (c.ravel() for c in np.meshgrid(*[np.arange(40.0, size - 40, STEP_PX)] * 2, indexing="ij"))
    scale = float(np.sqrt(PHOTONS_PER_FRAME / (0.72 * np.sum(np.abs(probe) ** 2))))
    frames = ComputedFrames(truth, probe, Scan(x, y, truth.shape, len(probe)), scale)
    measurement = Measurement(frames, scale, probe, x, y, truth.shape, np.arange(len(x)))
    start, cpu = time.perf_counter(), time.process_time()
    compared = compare_split(
        "train",
        truth,
        SplitInput(measurement, {"arm": reconstruction}, scan_box(measurement.scan)),
        evaluation=EvaluationSettings(),
        metrics=MetricsConfig(),
        limit=no_limit,
    )
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    copies = (peak_bytes() - before) / truth.nbytes
    entry = {
        "name": f"peak memory of scoring {size} x {size} px",
        "value": (peak_bytes() - before) / 1e9,
        "floor_or_peer": truth.nbytes / 1e9,
        "ratio": copies,
        "n": len(x),
        "made_copies": (made - before) / truth.nbytes,
        "wall_s": seconds,
        "cpu_s": cpu,
        "phase_rmse_rad": compared.value("arm", "phase", "rmse"),
        "ssim": compared.value("arm", "phase", "ssim"),
        "frc_half_bit_px": compared.value("arm", "complex", "frc_half_bit"),
        "shift_px": compared.methods["arm"].alignment.shift_px,
        "machine": f"{platform.machine()}, {platform.system()}",
    }
    if options.json:
        print(json.dumps([entry]))
        return
    print(f"{size} x {size} px, {len(x)} frames, evaluated {compared.region.covered_fraction:.0%} of the scanned box")
    print(f"object {truth.nbytes / 1e9:.3f} GB; peak {entry['value']:.3f} GB = {copies:.2f} copies of the object,")
    print(f"both objects included ({entry['made_copies']:.2f} when they were made)")
    print(f"wall {seconds:.1f} s, CPU {cpu:.1f} s")
    print(f"phase RMSE {entry['phase_rmse_rad']:.5f} rad, SSIM {entry['ssim']:.4f}, shift {entry['shift_px']}")


if __name__ == "__main__":
    main()
