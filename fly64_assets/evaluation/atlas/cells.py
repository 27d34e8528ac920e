"""The table of a campaign as cells: errors of methods, paired by what was reconstructed.

A *sample* is one base at one dose, view and repeat: all methods saw the same frames of it. A *cell* of the atlas is a
dose and a view; its samples are those of different objects, probes, seeds and repeats.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

UNIFORM: Final = "flat"
"""The uniform object among the methods of a table: the baseline, no method."""
LEAST_SPREAD_RAD: Final = 0.05
"""Smallest error of the uniform object on a sample: below it, the judged half of the scan holds hardly an object."""
MOST_MISSING: Final = 0.5
"""Part of the samples of the most complete method that a method must have."""


@dataclass(frozen=True)
class Row:
    """One method on one sample.

    ``error`` is its phase RMSE [rad], ``uniform`` that of the uniform object on the same sample (NaN where the table
    has none); ``photons`` are per object pixel, ``overlap`` is the linear overlap of nearest probes on average;
    ``values`` holds all columns of the table as texts.
    """

    sample: tuple[str, ...]
    kind: str
    probe: str
    tunable: bool
    dose: int
    view: str
    method: str
    error: float
    photons: float
    overlap: float
    values: Mapping[str, str]
    uniform: float = math.nan

    def number(self, column: str) -> float:
        """A column as a number. Raises ``ValueError`` where it is empty."""
        return float(self.values[column])


def read_rows(lines: Iterable[str]) -> list[Row]:
    """Rows of a campaign's table (CSV) that have an error; methods without a result are left out.

    Left out, too, are samples on which the uniform object has an error below :data:`LEAST_SPREAD_RAD`: all that a
    method could do there is to find nothing.

    Raises ``ValueError`` if the table lacks a column, or a line is cut or holds no number where one must be.
    """
    reader = csv.DictReader(lines)
    needed = {"base", "object", "probe", "tunable", "dose", "view", "repeat", "method", "phase_rmse"}
    needed |= {"photons_per_pixel", "linear_overlap"}
    if missing := sorted(needed - set(reader.fieldnames or ())):
        raise ValueError(
            f"the table lacks the columns {', '.join(missing)}: expected that of `fly64 campaign FILE table`"
        )
    rows = []
    for values in reader:
        if None in values or None in values.values():
            raise ValueError(
                f"line {reader.line_num} has not as many values as the head has columns: the table is cut or damaged"
            )
        if values["phase_rmse"] and values["linear_overlap"]:
            try:
                rows.append(row_of(values))
            except (ValueError, OverflowError) as error:
                raise ValueError(f"line {reader.line_num}: {error}") from error
    uniform = {row.sample: row.error for row in rows if row.method == UNIFORM}
    empty = {sample for sample, error in uniform.items() if error < LEAST_SPREAD_RAD}
    return [replace(row, uniform=uniform.get(row.sample, math.nan)) for row in rows if row.sample not in empty]


def row_of(values: Mapping[str, Any]) -> Row:
    """A row of the table. Raises ``ValueError`` where a number is none, or not finite."""
    text = {name: str(value) for name, value in values.items()}
    for column in ("dose", "phase_rmse", "photons_per_pixel", "linear_overlap"):
        if not math.isfinite(float(text[column])):
            raise ValueError(f"{column} = {text[column]}: expected a finite number")
    return Row(
        sample=(text["base"], text["dose"], text["view"], text["repeat"]),
        kind=text["object"],
        probe=text["probe"],
        tunable=text["tunable"] == "True",
        dose=int(float(text["dose"])),
        view=text["view"],
        method=text["method"],
        error=float(text["phase_rmse"]),
        photons=float(text["photons_per_pixel"]),
        overlap=float(text["linear_overlap"]),
        values=text,
    )


def methods_of(rows: Iterable[Row]) -> list[str]:
    """Methods in the order of the table, without the uniform object.

    Methods with results on less than half as many samples as the most complete one are left out: cells are compared
    where all methods have a result, and a few results of one method must not hide the others'.
    """
    samples = Counter(row.method for row in rows if row.method != UNIFORM)
    most = max(samples.values(), default=0)
    return [method for method, count in samples.items() if count >= MOST_MISSING * most]


def by_sample(rows: Iterable[Row]) -> dict[tuple[str, ...], dict[str, Row]]:
    """Rows of every sample by method."""
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.sample, {})[row.method] = row
    return found


def geometric_mean(errors: Sequence[float]) -> float:
    """Mean of errors that are compared by their ratios.

    Examples
    --------
    >>> round(geometric_mean([0.1, 0.4]), 3)
    0.2
    """
    return math.exp(math.fsum(map(math.log, errors)) / len(errors))


def means_over_seeds(rows: Iterable[Row]) -> list[Row]:
    """One row for each cell, kind, probe and method: geometric means of error and photons, means of overlaps.

    Examples
    --------
    >>> about = {"tunable": False, "view": "dense", "repeat": 1, "object": "cells", "probe": "flat", "method": "one"}
    >>> rows = [row_of(about | {"base": f"s{seed}", "dose": 1000, "photons_per_pixel": 10, "linear_overlap": 0.2,
    ...                         "phase_rmse": error}) for seed, error in ((1, 0.1), (2, 0.4))]
    >>> [round(row.error, 3) for row in means_over_seeds(rows)]
    [0.2]
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.dose, row.view, row.kind, row.probe, row.method), []).append(row)
    return [
        replace(
            group[0],
            error=geometric_mean([row.error for row in group]),
            photons=geometric_mean([row.photons for row in group]),
            overlap=math.fsum(row.overlap for row in group) / len(group),
        )
        for group in groups.values()
    ]
