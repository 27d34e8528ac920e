"""Bad inputs as detectors, scans and other programs make them, with what is said of each and the option that cures it.

``python tests/faults/detector_cases.py FOLDER`` writes all of them into a folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

N = 64
FRAMES = 40
PIXEL = 1e-8

Arrays = dict[str, Any]


def sound(dose: float = 2e4, frames: int = FRAMES, height: int = 110, width: int = 120) -> Arrays:
    """Counts (n, N, N) of a weak object at whole positions, with the DC in the centre, and all that belongs to them."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:height, :width]
    amplitude = 0.8 + 0.2 * np.cos(columns / 9) * np.cos(rows / 7)
    obj = amplitude * np.exp(0.6j * np.sin(columns / 11 + rows / 23) + 0.3j * (columns > rows))
    y, x = np.mgrid[:N, :N] - N // 2
    squared = (x + 1.5) ** 2 + 1.4 * y**2
    probe = np.exp(-squared / (N / 6) ** 2 + 2j * squared / (N / 4) ** 2)
    xcoords = rng.integers(N // 2, width - N // 2 - 1, frames)
    ycoords = rng.integers(N // 2, height - N // 2 - 1, frames)
    corners = zip(ycoords - N // 2, xcoords - N // 2, strict=True)
    waves = np.stack([probe * obj[row : row + N, column : column + N] for row, column in corners])
    rates = np.abs(np.fft.fftshift(np.fft.fft2(waves, norm="ortho"), axes=(1, 2))) ** 2
    scale = dose / rates.sum(axis=(1, 2)).mean()
    return {
        "diff3d": rng.poisson(rates * scale).astype(np.int32),
        "objectGuess": obj.astype(np.complex64),
        "probeGuess": (probe * np.sqrt(scale)).astype(np.complex64),
        "xcoords": xcoords.astype(float),
        "ycoords": ycoords.astype(float),
        "scan_index": np.arange(frames),
    }


def counts_as(dtype: Any, change: Callable[[np.ndarray], None] | None = None, key: str = "diff3d") -> Arrays:
    """The sound data set with its counts in a type, after a change in place."""
    made = sound()
    counts = made.pop("diff3d").astype(dtype)
    if change is not None:
        change(counts)
    return made | {key: counts}


def put(*index: Any, value: float) -> Callable[[np.ndarray], None]:
    """A change that puts a value at an index."""

    def change(counts: np.ndarray) -> None:
        counts[index] = value

    return change


def gap(value: float) -> Callable[[np.ndarray], None]:
    """A gap of two rows and one more pixel, in every frame."""

    def change(counts: np.ndarray) -> None:
        counts[:, 40:42] = value
        counts[:, 10, 50] = value

    return change


def base(**changes: Any) -> Arrays:
    """Object, probe and positions without frames."""
    made = sound()
    del made["diff3d"], made["scan_index"]
    return made | changes


def nan_in_places(counts: np.ndarray) -> None:
    """NaN in one gap of all frames."""
    counts[:, 40:42] = np.nan


def dark_subtracted(counts: np.ndarray) -> None:
    """Whole negative numbers here and there, as after a dark frame was subtracted."""
    counts -= np.random.default_rng(2).poisson(1.0, counts.shape)


def amplified(counts: np.ndarray) -> None:
    """A detector with 7.3 units for a photon."""
    counts *= np.float32(7.3)


def clipped(counts: np.ndarray) -> None:
    """A detector that counts to 60."""
    np.minimum(counts, 60, out=counts)


def records(array: np.ndarray) -> np.ndarray:
    """Complex numbers as MATLAB 7.3 stores them."""
    made = np.empty(array.shape, [("real", "<f4"), ("imag", "<f4")])
    made["real"], made["imag"] = array.real, array.imag
    return made


def _modes() -> np.ndarray:
    probe = sound()["probeGuess"]
    return np.stack([probe, 0.5 * np.roll(probe, 3, 0) * np.exp(1j * np.arange(N) / 9), 0.2 * probe.T])


def _bordered() -> np.ndarray:
    obj = sound()["objectGuess"]
    obj[:3] = np.nan
    obj[:, -2:] = np.nan
    return obj


def _outlying() -> Arrays:
    made = sound()
    made["objectGuess"] = np.pad(made["objectGuess"], ((0, 2000), (0, 2000)), mode="wrap")
    made["ycoords"][7] += 1900
    made["xcoords"][7] += 1500
    return made


def _on_a_line() -> Arrays:
    made = base()
    return made | {"ycoords": np.full_like(made["ycoords"], 50.0)}


def _shifted(rows: int, columns: int) -> Arrays:
    made = sound()
    return made | {"diff3d": np.roll(made["diff3d"], (rows, columns), (1, 2))}


def _turned() -> Arrays:
    made = sound()
    return made | {"diff3d": np.swapaxes(made["diff3d"], 1, 2).copy()}


def _scaled(factor: float) -> Arrays:
    made = base()
    return made | {"objectGuess": made["objectGuess"] * np.float32(factor)}


def _unit(factor: float, rows: float = 55, columns: float = 60) -> Arrays:
    made = base()
    made["xcoords"] = (made["xcoords"] - columns) * factor
    made["ycoords"] = (made["ycoords"] - rows) * factor
    return made


def _mask(value_at_bad: int) -> np.ndarray:
    mask = np.full((N, N), 1 - value_at_bad, np.uint8)
    mask[40:42] = value_at_bad
    return mask


IMPORT, CHECK, BASE = "import", "contract check", "base check"


@dataclass(frozen=True)
class Case:
    """A bad input: the row of the table, how it is made, and what the commands say.

    ``command`` gets the file; ``cure`` are the options that it needs then. ``code`` and ``severity`` are those of the
    finding; ``statuses`` are the exit status before and after, and ``cured`` says whether the finding is gone after it.
    ``says`` must stand in the message.
    """

    row: str
    name: str
    arrays: Callable[[], Arrays]
    command: str
    code: str
    severity: str
    says: str
    cure: tuple[str, ...] = ()
    statuses: tuple[int, int | None] = (1, 0)
    before: tuple[str, ...] = ()


E, W = "error", "warning"
MASKED, SATURATED = "DETECTOR-001.masked", "DETECTOR-001.saturated"
ACCEPTED = (0, 0)
NO_OPTION = (0, None)
CASES = (
    *(
        Case(
            "the maximum of an integer type",
            f"{name}_maximum",
            lambda dtype=dtype: counts_as(dtype, gap(np.iinfo(dtype).max)),
            IMPORT,
            MASKED,
            E,
            r"129 pixels in every frame \(rows 40-41, \(10, 50\)\)",
            ("--mask-value", "MAX"),
        )
        for name, dtype in (("uint32", np.uint32), ("uint16", np.uint16), ("int32", np.int32))
    ),
    Case(
        "the maximum of an integer type, checked",
        "uint32_maximum_checked",
        lambda: counts_as(np.uint32, gap(2**32 - 1), "diffraction"),
        CHECK,
        MASKED,
        E,
        "4294967295, the largest value of uint32: masked pixels",
        statuses=(1, None),
    ),
    Case(
        "65535 among wider integers",
        "uint32_65535",
        lambda: counts_as(np.uint32, gap(65535)),
        IMPORT,
        MASKED,
        E,
        "--mask-value 65535",
        ("--mask-value", "65535"),
    ),
    Case(
        "-1 in signed integers",
        "minus_one",
        lambda: counts_as(np.int32, gap(-1)),
        IMPORT,
        MASKED,
        E,
        "--mask-value -1",
        ("--mask-value", "-1"),
    ),
    Case(
        "NaN in the same place in every frame",
        "nan_gap",
        lambda: counts_as(np.float32, nan_in_places),
        IMPORT,
        MASKED,
        E,
        r"128 pixels in every frame \(rows 40-41\)",
        ("--mask-value", "nan"),
        before=("--counts",),
    ),
    Case(
        "a hot pixel",
        "hot",
        lambda: counts_as(np.int32, put(slice(None), 12, 50, value=5000)),
        IMPORT,
        "DETECTOR-001.hot",
        W,
        r"1 hot pixel.*\(12, 50\)",
        ("--mask", "hot_mask.npy"),
        ACCEPTED,
    ),
    Case(
        "a dead pixel",
        "dead",
        lambda: counts_as(np.int32, put(slice(None), 33, 30, value=0)),
        IMPORT,
        "DETECTOR-001.dead",
        W,
        r"1 dead pixel.*\(33, 30\)",
        ("--mask", "dead_mask.tif"),
        ACCEPTED,
    ),
    Case(
        "a gap of zeros",
        "zero_gap",
        lambda: counts_as(np.int32, put(slice(None), slice(30, 32), value=0)),
        IMPORT,
        "DETECTOR-001.dead",
        W,
        "dead pixels",
        ("--mask", "gap_mask.npz"),
        ACCEPTED,
    ),
    Case(
        "saturated pixels",
        "saturated",
        lambda: counts_as(np.int32, clipped),
        IMPORT,
        SATURATED,
        W,
        "saturated at",
        ("--mask-value", "60"),
        ACCEPTED,
    ),
    Case(
        "empty frames",
        "empty",
        lambda: counts_as(np.int32, put(slice(5, 7), value=0)),
        IMPORT,
        "DETECTOR-001.empty",
        W,
        r"2 of 40 frames.*\(5-6\)",
        ("--drop-frames", "5-6"),
        ACCEPTED,
    ),
    Case(
        "an overexposed frame",
        "overexposed",
        lambda: counts_as(np.int32, lambda c: c.__setitem__(9, c[9] * 100)),
        IMPORT,
        "DETECTOR-001.overexposed",
        W,
        r"1 of 40 frames.*\(9\)",
        ("--drop-frames", "9"),
        ACCEPTED,
    ),
    Case(
        "negative counts",
        "negative",
        lambda: counts_as(np.int32, dark_subtracted),
        IMPORT,
        "DATA-001.amplitude",
        E,
        "negative numbers.*--clip-negative",
        ("--clip-negative",),
    ),
    Case(
        "negative counts, checked",
        "negative_checked",
        lambda: counts_as(np.float32, dark_subtracted, "diffraction"),
        CHECK,
        "DATA-001.amplitude",
        E,
        "--clip-negative",
        statuses=(1, None),
    ),
    Case(
        "counts times a gain",
        "gain",
        lambda: counts_as(np.float32, amplified, "diffraction"),
        IMPORT,
        "DETECTOR-001.gain",
        W,
        "multiple of 7.3",
        ("--gain", "7.3"),
        ACCEPTED,
    ),
    Case(
        "counts that are no whole numbers",
        "fractions",
        lambda: counts_as(np.float32, lambda c: c.__imul__(np.float32(1.7)), "diffraction"),
        IMPORT,
        "DETECTOR-001.gain",
        W,
        "photons per unit",
        ("--gain", "1.7"),
        ACCEPTED,
        ("--counts",),
    ),
    Case(
        "logarithms of counts",
        "logarithm",
        lambda: counts_as(np.float32, lambda c: np.log1p(c, out=c), "diffraction"),
        IMPORT,
        "DETECTOR-001.logarithm",
        W,
        "natural logarithm of 1 . counts",
        statuses=NO_OPTION,
    ),
    Case(
        "the beam beside the far field of the probe",
        "beam",
        lambda: _shifted(5, -3),
        IMPORT,
        "DETECTOR-001.beam",
        W,
        "5.0 px below and 2.9 px to the left",
        ("--centre",),
        ACCEPTED,
    ),
    Case(
        "frames in another orientation",
        "transposed",
        _turned,
        IMPORT,
        "DETECTOR-001.orientation",
        W,
        "`--orientation transpose` turns them",
        ("--orientation", "transpose"),
        ACCEPTED,
    ),
    Case("all positions on a line", "line", _on_a_line, BASE, "SCAN-001.line", W, "of one line", statuses=NO_OPTION),
    Case(
        "two distinct positions",
        "two",
        lambda: base(xcoords=np.array([40.0, 50]), ycoords=np.array([50.0, 60])),
        BASE,
        "SCAN-001.line",
        W,
        "2 distinct positions",
        statuses=NO_OPTION,
    ),
    Case(
        "positions in metres",
        "metres",
        lambda: _unit(PIXEL),
        BASE,
        "DATA-001.coordinates",
        E,
        "look like metres",
        ("--positions-unit", "m", "--pixel-size", str(PIXEL), "--positions", "from-centre"),
    ),
    Case(
        "positions in metres, from the corner",
        "metres_from_corner",
        lambda: _unit(PIXEL, 0, 0),
        BASE,
        "DATA-001.coordinates",
        E,
        "look like metres",
        ("--positions-unit", "m", "--pixel-size", str(PIXEL)),
    ),
    Case(
        "positions in micrometres",
        "micrometres",
        lambda: _unit(PIXEL * 1e6),
        BASE,
        "DATA-001.coordinates",
        E,
        "look like micrometres",
        ("--positions-unit", "um", "--pixel-size", str(PIXEL), "--positions", "from-centre"),
    ),
    Case(
        "positions in metres, checked",
        "metres_checked",
        lambda: sound() | _unit(PIXEL),
        CHECK,
        "SCAN-001.unit",
        E,
        "look like metres",
        statuses=(1, None),
    ),
    Case(
        "positions about zero",
        "about_zero",
        lambda: _unit(1.0),
        BASE,
        "DATA-001.coordinates",
        E,
        "from-centre",
        ("--positions-unit", "px-centred"),
    ),
    Case(
        "positions about zero, checked",
        "about_zero_checked",
        lambda: sound() | _unit(1.0),
        CHECK,
        "SCAN-001.unit",
        E,
        "as pty-chi has them",
        statuses=(1, None),
    ),
    Case(
        "an outlying position",
        "outlying",
        _outlying,
        IMPORT,
        "SCAN-001.outlying",
        W,
        r"frames 7\).*MiB",
        ("--drop-frames", "7"),
        ACCEPTED,
    ),
    Case(
        "object amplitudes that are no transmission",
        "bright_object",
        lambda: _scaled(1000.0),
        BASE,
        "OBJECT-001.amplitude",
        W,
        "median amplitude",
        statuses=NO_OPTION,
    ),
    Case(
        "NaN at the border of the object",
        "nan_border",
        lambda: base(objectGuess=_bordered()),
        BASE,
        "DATA-001.finite",
        E,
        "--fill-border",
        ("--fill-border",),
    ),
    *(
        Case(
            f"a probe of several modes{words}",
            name,
            lambda shape=shape: base(probeGuess=_modes().reshape(shape)),
            BASE,
            "DATA-001.modes",
            "info",
            "% of the power",
            ("--probe-mode", "0"),
            ACCEPTED,
        )
        for words, name, shape in (("", "modes", (3, N, N)), (", as pty-chi has them", "modes_4d", (1, 3, N, N)))
    ),
    Case(
        "an object of several slices",
        "slices",
        lambda: base(objectGuess=np.stack([sound()["objectGuess"]] * 2)),
        BASE,
        "DATA-001.shape",
        E,
        "--slice 0",
        ("--slice", "1"),
    ),
    *(
        Case(
            f"a mask under the key {key}",
            key,
            lambda key=key, bad=bad: sound() | {key: _mask(bad)},
            IMPORT,
            "DATA-001.mask",
            E,
            "convention is not shown",
            cure,
        )
        for key, bad, cure in (
            ("mask", 1, ("--rename", "mask=bad_pixels")),
            ("valid_pixel_mask", 0, ("--good-pixels", "valid_pixel_mask")),
            ("good_pixels", 0, ("--good-pixels", "good_pixels")),
        )
    ),
    Case(
        "a mask under another key, checked",
        "mask_checked",
        lambda: sound() | {"mask": _mask(0)},
        CHECK,
        "DATA-001.mask",
        E,
        "more than half, so probably those are good",
        statuses=(1, None),
    ),
    Case(
        "an inverted mask",
        "inverted",
        lambda: sound() | {"bad_pixels": _mask(0).astype(bool)},
        IMPORT,
        "DATA-001.mask",
        E,
        "probably the mask is inverted",
        ("--good-pixels", "bad_pixels"),
    ),
)


def write_masks(folder: Path) -> None:
    """The mask files that the cures name."""
    import tifffile

    hot, dead, rows = (np.zeros((N, N), np.uint8) for _ in range(3))
    hot[12, 50], dead[33, 30], rows[30:32] = 1, 255, 1
    np.save(folder / "hot_mask.npy", hot)
    tifffile.imwrite(folder / "dead_mask.tif", dead)
    np.savez(folder / "gap_mask.npz", bad_pixels=rows.astype(bool))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    write_masks(target)
    for case in CASES:
        np.savez_compressed(target / f"{case.name}.npz", **case.arrays())
        print(f"{case.name}.npz: {case.row}: fly64 {case.command}, {case.severity} {case.code}")
