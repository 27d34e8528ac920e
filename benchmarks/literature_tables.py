"""Tables of literature.csv: rings of an amplitude beside those that arXiv 2602.21361 prints."""

import statistics

from table_rows import MISSING, Contest, Row, rows_of, table

METHODS = ("lsqml", "tv_ml", "pretrained")
ALONE = "pretrained, each frame alone"
PROBES = ("curved", "flat")
POISSON = {10**2: 21, 10**3: 45, 10**4: 72} | {10**power: 165 for power in range(5, 10)}
"""Rings at a correlation of 0.5 by photons per frame, one network trained for each with the Poisson loss."""
ABSOLUTE = {10**4: 52, 10**5: 71, 10**7: 166}
"""The same, trained with the mean absolute error."""
LAST_RING = 166
"""The largest value that is printed; taken for the last ring of its spectrum."""
SSIM = {"curved": (0.904, 0.968), "flat": (0.620, 0.952)}
"""Amplitude SSIM without and with the overlap constraint."""


def of(rows: list[Row], probe: str, dose: int, method: str) -> list[Row]:
    """Rows of a cell and a method, one for each object."""
    return [row for row in rows if (row["probe"], int(row["dose"]), row["method"]) == (probe, dose, method)]


def share(row: Row) -> float:
    """Rings as a part of those up to Nyquist."""
    return float(row["frc50_rings"]) / (float(row["side_px"]) / 2)


def _mean(rows: list[Row], column: str, text: str) -> str:
    values = [float(row[column]) for row in rows if row[column]]
    return format(statistics.mean(values), text) if values else MISSING


def _rings(rows: list[Row]) -> str:
    if not rows:
        return MISSING
    percent = 100 * statistics.mean(share(row) for row in rows)
    return f"{_mean(rows, 'frc50_rings', '.1f')} ({percent:.0f} %), {_mean(rows, 'frc50_px', '.1f')} px"


def literature(_contest: Contest) -> str:
    """Rings, their share of those up to Nyquist and the period, by dose and probe, beside the printed rings."""
    rows = rows_of("literature.csv")
    lines = []
    for dose in POISSON:
        printed = [
            f"{values[dose]} ({100 * values[dose] / LAST_RING:.0f} %)" if dose in values else MISSING
            for values in (POISSON, ABSOLUTE)
        ]
        for probe in PROBES:
            found = [_rings(of(rows, probe, dose, method)) for method in METHODS]
            lines.append([f"{dose:,}", probe, *(printed if probe == PROBES[0] else ["", ""]), *found])
    head = ["photons / frame", "probe", "printed, Poisson loss", "printed, absolute error"]
    return table([*head, *(f"`{method}`" for method in METHODS)], lines)


def literature_overlap(_contest: Contest) -> str:
    """Amplitude SSIM with each frame by itself and with all frames together, beside the printed ones."""
    rows = rows_of("literature.csv")
    doses = sorted({int(row["dose"]) for row in rows if row["method"] == ALONE})
    lines = [
        ["printed", MISSING, probe, *(f"{value:.3f}" for value in SSIM[probe]), MISSING, MISSING] for probe in PROBES
    ]
    for dose in doses:
        for probe in PROBES:
            pair = [of(rows, probe, dose, method) for method in (ALONE, "pretrained")]
            scores = (("amplitude_ssim", ".3f"), ("amplitude_rmse", ".4f"))
            values = [_mean(found, *score) for score in scores for found in pair]
            lines.append(["`pretrained`", f"{dose:,}", probe, *values])
    return table(
        [
            "",
            "photons / frame",
            "probe",
            "SSIM, each frame alone",
            "SSIM, together",
            "error, each frame alone",
            "error, together",
        ],
        lines,
    )
