"""A short law of what a method reaches, fitted to the table of a campaign: its phase error, or its resolution.

    photon-limited:    log p = a + b(overlap) log n + c overlap + d . (what is known of the object) + f . (the probe)
    geometry-limited:  log g = a' + c' overlap + d' . (what is known of the object) + f' . (the probe)
    together:          1 / e^2 = 1 / (p^2 + g^2) + 1 / s^2

n is photons per object pixel and overlap the linear overlap of nearest probes. Noise and what the geometry leaves open
are independent errors: their squares add. The last line is how an estimate with the error sqrt(p^2 + g^2) combines with
one whose error s has no need of photons: with few of them no method is much worse than the uniform object, whose error
is the spread of the object's phase, so that s is that spread times a number of the method. Of a resolution s is the
coarsest that the table holds. b is never positive: more photons never make the law's answer worse.

Kinds of objects are few, and many rows of one kind are a single observation of what objects do. The coefficients d and
d' are therefore held near zero by a penalty that weighs as much as one kind. Does not belong here: how wrong the law
is on kinds that it has not seen (``forecast``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.atlas.cells import Row

Real = NDArray[np.float64]
Quantity = Literal["error", "resolution"]

LEAST_ROWS: Final = 12
"""Fewest rows of a law."""
NYQUIST_PX: Final = 2.0
"""Finest resolution on a pixel grid, a full period [px]: a row that has it may be finer."""
OBJECT_UNITS: Final[Mapping[str, float]] = {"log_spread": 0.8, "log_bandwidth": 1.0, "gradient_sparsity": 0.3}
"""What is known of an object, logarithms of its phase's spread and of its bandwidth, and its gradient's sparsity; with
how much they differ between kinds of objects (their standard deviations over the generated kinds, rounded)."""
OBJECT_TERMS: Final = tuple(OBJECT_UNITS)
KIND_PENALTY: Final = 1.0
"""Penalty of a coefficient of the object, in these units, and of the logarithm by which s differs from the object's
spread or from the coarsest resolution, beside the deviation of one kind."""
PROBE_PENALTY: Final = 0.3
"""The same of a probe, beside all rows of one kind."""
SLIGHT: Final = 1e-3
"""Penalty on everything else, so that a term that does not vary in the table gets none."""


@dataclass(frozen=True)
class Conditions:
    """What a law needs to know of some measurements, each (n,) float64.

    ``photons`` per object pixel; linear ``overlap``; ``spread`` [rad], the phase error of the uniform object;
    ``bandwidth`` [cycles/px] and ``sparsity`` as :func:`~fly64_assets.simulation.objects.describing.describe_object`
    measures them; ``probes``, shares (n,) of each kind of probe by name.
    """

    photons: Real
    overlap: Real
    spread: Real
    bandwidth: Real
    sparsity: Real
    probes: Mapping[str, Real]

    def __len__(self) -> int:
        return len(self.photons)

    def objects(self) -> Real:
        """Terms of the object, (n, 3) in the order of :data:`OBJECT_TERMS`."""
        logs = [np.log(np.maximum(values, 1e-4)) for values in (self.spread, self.bandwidth)]
        return np.column_stack([*logs, self.sparsity])


def conditions_of(rows: Sequence[Row]) -> Conditions:
    """The conditions of rows of a table."""
    return Conditions(
        photons=np.array([row.photons for row in rows]),
        overlap=np.array([row.overlap for row in rows]),
        spread=np.array([row.uniform for row in rows]),
        bandwidth=np.array([row.number("bandwidth") for row in rows]),
        sparsity=np.array([row.number("gradient_sparsity") for row in rows]),
        probes={
            name: np.array([float(row.probe == name) for row in rows]) for name in sorted({row.probe for row in rows})
        },
    )


def found_values(rows: Sequence[Row], quantity: Quantity) -> Real:
    """Errors [rad] or resolutions [px] that rows have; an infinite resolution is one of which nothing is resolved."""
    if quantity == "error":
        return np.array([row.error for row in rows])
    return np.array([float(row.values["phase_frc_half_bit"] or math.inf) for row in rows])


@dataclass(frozen=True)
class Law:
    """The fitted law of one method and quantity.

    ``photon`` and ``geometry`` are the coefficients of the two parts, by name of the term; b(overlap) goes linearly
    from ``log_photons_apart`` at an overlap of 0 to ``log_photons_whole`` at 1. ``ceiling`` is the logarithm of s, of
    an error in units of the object's spread. ``probes`` are the kinds of probes that were seen, of which the first is
    the reference; ``spread`` is the root mean square of the logarithm's deviation from the law on the rows that it was
    fitted to, and ``most`` by how much the worst of them lies above s.
    """

    method: str
    quantity: Quantity
    photon: dict[str, float]
    geometry: dict[str, float]
    ceiling: float
    probes: tuple[str, ...]
    spread: float
    most: float

    def log_most(self, at: Conditions) -> Real:
        """Logarithm of the worst value that is to be expected with hardly a photon."""
        return self.parts(at)[2] + self.most

    def parts(self, at: Conditions) -> tuple[Real, Real, Real]:
        """Logarithms of p, g and s for each condition."""
        photon, geometry = _terms(at, self.probes)
        ceiling = np.full(len(at), self.ceiling)
        if self.quantity == "error":
            ceiling = ceiling + np.log(at.spread)
        return (
            np.column_stack(list(photon.values())) @ [self.photon[name] for name in photon],
            np.column_stack(list(geometry.values())) @ [self.geometry[name] for name in geometry],
            ceiling,
        )

    def log_value(self, at: Conditions) -> tuple[Real, Real]:
        """Logarithm of the expected value, and how far it is from saturation: 0 at s, 1 far below it."""
        photon, geometry, ceiling = self.parts(at)
        inner = np.logaddexp(2 * photon, 2 * geometry) / 2
        return _combined(inner, ceiling)


def _combined(inner: Real, ceiling: Real) -> tuple[Real, Real]:
    value = -np.logaddexp(-2 * inner, -2 * ceiling) / 2
    return value, np.exp(2 * (value - inner))


def fit_law(rows: Sequence[Row], method: str, quantity: Quantity = "error") -> Law:
    """Fit the law of the phase error or the resolution to the rows of a method.

    Rows at the Nyquist period count only where the law says that they are coarser, rows without a resolution only where
    it says that they are finer than the coarsest one of the table.

    Raises ``ValueError`` for fewer than 12 rows, or rows without an error of the uniform object.
    """
    own = [row for row in rows if row.method == method]
    if len(own) < LEAST_ROWS:
        raise ValueError(f"{method}: {len(own)} rows; a law needs at least {LEAST_ROWS}")
    if any(math.isnan(row.uniform) for row in own):
        raise ValueError(f"{method}: the table lacks the uniform object (`flat`) of some samples; a law needs it")
    found = found_values(own, quantity)
    coarsest = float(found[np.isfinite(found)].max(initial=NYQUIST_PX))
    return _Fit(own, quantity, np.minimum(found, coarsest), found > coarsest).law(method)


class _Fit:
    """Least squares of one law: its unknowns are coefficients of centred terms, and the logarithm of s."""

    def __init__(self, rows: Sequence[Row], quantity: Quantity, found: Real, unresolved: NDArray[np.bool_]) -> None:
        at = conditions_of(rows)
        self.quantity, self.found, self.unresolved = quantity, np.log(found), unresolved
        self.finest = found <= NYQUIST_PX if quantity == "resolution" else np.zeros(len(found), np.bool_)
        self.probes = tuple(at.probes)
        self.photon, self.geometry = _terms(at, self.probes)
        self.names = [("photon", name) for name in self.photon] + [("geometry", name) for name in self.geometry]
        columns = np.column_stack([*self.photon.values(), *self.geometry.values()])
        self.middle, self.unit = _units(self.names, columns)
        self.columns = (columns - self.middle) / self.unit
        self.split = len(self.photon)
        self.base = np.log(at.spread) if quantity == "error" else np.full(len(at), self.found.max())
        kinds = len({row.kind for row in rows})
        penalty = [*(_penalty(name) for _, name in self.names), KIND_PENALTY]
        self.penalty = np.array(penalty) * math.sqrt(len(rows) / kinds)

    def law(self, method: str) -> Law:
        from scipy.optimize import least_squares

        low, high = np.full(len(self.names) + 1, -np.inf), np.full(len(self.names) + 1, np.inf)
        start = np.zeros(len(self.names) + 1)
        for index, (part, name) in enumerate(self.names):
            if name.startswith("log_photons"):
                high[index], start[index] = 0.0, -0.4 * self.unit[index]
            elif part == "geometry" and name == "overlap":
                # What neighbours leave open does not grow with what they share.
                high[index], start[index] = 0.0, -1e-3
            elif name == "one":
                start[index] = float(np.quantile(self.found, 0.6 if part == "photon" else 0.1))
        # A method that fits noise may be somewhat worse than the uniform object, and one with a prior better.
        low[-1], high[-1], start[-1] = (-0.3, 0.7, 0.1) if self.quantity == "error" else (0.0, 0.7, 0.1)
        solved = least_squares(self.residuals, start, self.jacobian, bounds=(low, high)).x
        raw = solved[:-1] / self.unit
        moved = raw * self.middle
        coefficients: dict[str, dict[str, float]] = {"photon": {}, "geometry": {}}
        for (part, name), value in zip(self.names, raw, strict=True):
            coefficients[part][name] = float(value)
        coefficients["photon"]["one"] -= float(moved[: self.split].sum())
        coefficients["geometry"]["one"] -= float(moved[self.split :].sum())
        spread = float(np.sqrt((self.deviation(solved)[0] ** 2).mean()))
        most = max(0.0, float((self.found - self.base - solved[-1]).max()))
        ceiling = float(solved[-1]) + (0.0 if self.quantity == "error" else float(self.base[0]))
        return Law(
            method, self.quantity, coefficients["photon"], coefficients["geometry"], ceiling, self.probes,
            spread, most,
        )  # fmt: skip

    def deviation(self, unknown: Real) -> tuple[Real, Real]:
        """Law less what was found, 0 where a censored row agrees, and the derivative by each unknown."""
        photon = self.columns[:, : self.split] @ unknown[: self.split]
        geometry = self.columns[:, self.split :] @ unknown[self.split : -1]
        inner = np.logaddexp(2 * photon, 2 * geometry) / 2
        value, free = _combined(inner, self.base + unknown[-1])
        share = np.exp(2 * (photon - inner))[:, None]
        slope = np.hstack([share * self.columns[:, : self.split], (1 - share) * self.columns[:, self.split :]])
        derivative = np.column_stack([free[:, None] * slope, 1 - free])
        away = value - self.found
        agrees = (self.finest & (away < 0)) | (self.unresolved & (away > 0))
        return np.where(agrees, 0.0, away), np.where(agrees[:, None], 0.0, derivative)

    def residuals(self, unknown: Real) -> Real:
        return np.concatenate([self.deviation(unknown)[0], self.penalty * self._penalised(unknown)])

    def jacobian(self, unknown: Real) -> Real:
        return np.vstack([self.deviation(unknown)[1], np.diag(self.penalty)])

    def _penalised(self, unknown: Real) -> Real:
        """Coefficients by which the penalty is measured: constants from where the table is, slopes from zero."""
        middle = float(np.median(self.found))
        away: Real = unknown - np.array([*(middle if name == "one" else 0.0 for _, name in self.names), 0.0])
        return away


def _terms(at: Conditions, probes: Sequence[str]) -> tuple[dict[str, Real], dict[str, Real]]:
    """Terms of both parts by name, each (n,)."""
    shared = {"one": np.ones(len(at)), "overlap": at.overlap}
    shared |= dict(zip(OBJECT_TERMS, at.objects().T, strict=True))
    shared |= {f"probe_{name}": at.probes.get(name, np.zeros(len(at))) for name in probes[1:]}
    log_n = np.log(at.photons)
    slopes = {"log_photons_apart": log_n * (1 - at.overlap), "log_photons_whole": log_n * at.overlap}
    return slopes | shared, shared


def _units(names: Sequence[tuple[str, str]], columns: Real) -> tuple[Real, Real]:
    """Middle and unit of each term; slopes and constants stay as they are."""
    middle, unit = columns.mean(axis=0), columns.std(axis=0)
    for index, (_, name) in enumerate(names):
        if name == "one" or name.startswith("log_photons"):
            middle[index], unit[index] = 0.0, 1.0
        unit[index] = OBJECT_UNITS.get(name, unit[index])
    return middle, np.where(unit > 1e-9, unit, 1.0)


def _penalty(name: str) -> float:
    if name in OBJECT_TERMS:
        return KIND_PENALTY
    return PROBE_PENALTY if name.startswith("probe_") else SLIGHT
