"""Tables of README and of the page on the atlas, from the table in the package."""

import math
from collections.abc import Sequence
from statistics import mean

import numpy as np
from table_rows import Contest, table

from fly64_assets import advise
from fly64_assets.evaluation.atlas.cells import UNIFORM, Row, geometric_mean, methods_of
from fly64_assets.evaluation.atlas.packaged import atlas_rows


def atlas(_contest: Contest) -> str:
    """Phase error of the method with the smallest geometric mean over objects and probes, and of each over overlaps."""
    rows = atlas_rows()
    views = list(dict.fromkeys(row.view for row in rows))
    methods = methods_of(rows)

    def error(own: list[Row], method: str) -> float:
        return geometric_mean([row.error for row in own if row.method == method])

    lines = []
    for dose in sorted({row.dose for row in rows}):
        of_dose = [row for row in rows if row.dose == dose]
        line = [f"{geometric_mean([row.photons for row in of_dose]):,.{0 if dose > 1000 else 1}f}"]
        for view in views:
            own = [row for row in of_dose if row.view == view]
            best = min(methods, key=lambda method: error(own, method))
            line.append(f"{error(own, best):.3f} `{best}`")
        line += [f"{error(of_dose, method):.3f}" for method in (*methods, UNIFORM)]
        lines.append(line)
    overlaps = [f"overlap {100 * mean(row.overlap for row in rows if row.view == view):.0f} %" for view in views]
    return table(["photons / px", *overlaps, *(f"`{method}`" for method in methods), "uniform object"], lines)


def atlas_kinds(_contest: Contest) -> str:
    """Phase error of each method by probe and by kind of object, geometric mean over the overlaps and the other."""
    rows = atlas_rows()
    doses = sorted({row.dose for row in rows})
    groups = [(f"probe `{name}`", [row for row in rows if row.probe == name]) for name in _names(rows, "probe")]
    groups += [(f"object `{name}`", [row for row in rows if row.kind == name]) for name in _names(rows, "kind")]
    lines = []
    for title, own in groups:
        for method in methods_of(rows):
            errors = [[row.error for row in own if (row.dose, row.method) == (dose, method)] for dose in doses]
            lines.append([title, f"`{method}`", *(f"{geometric_mean(found):.3f}" for found in errors)])
    photons = (geometric_mean([row.photons for row in rows if row.dose == dose]) for dose in doses)
    return table(["", "method", *(f"{value:,.3g} photons / px" for value in photons)], lines)


def atlas_advised(_contest: Contest) -> str:
    """Measured error of the scan that is advised for each dose, object and probe of the atlas, over the smallest."""
    rows = atlas_rows()
    views, ratios = list(dict.fromkeys(row.view for row in rows)), []
    for kind, probe, dose in sorted({(row.kind, row.probe, row.dose) for row in rows}):
        own = [row for row in rows if (row.kind, row.probe, row.dose) == (kind, probe, dose)]
        overlaps = {view: mean(row.overlap for row in own if row.view == view) for view in views}
        errors = {
            (method, view): geometric_mean([row.error for row in own if (row.method, row.view) == (method, view)])
            for method in methods_of(rows)
            for view in views
        }
        photons = geometric_mean([row.photons for row in own])
        advised = advise((160, 160), photons_per_pixel=photons, obj=kind, probe=probe).best
        nearest = min(views, key=lambda view: abs(overlaps[view] - advised.overlap))
        ratios.append((errors[advised.method, nearest] / min(errors.values()), kind, probe, photons))
    worst, kind, probe, photons = max(ratios)
    return (
        f"For the {len(ratios)} doses, objects and probes of the atlas the scan and the method that `fly64 advise` "
        f"names have {geometric_mean([ratio for ratio, *_ in ratios]):.2f} times the smallest measured error of all "
        f"methods and overlaps (geometric mean over cells, each a mean over its seeds), and {worst:.1f} times at worst "
        f"(`{kind}`, `{probe}`, {photons:,.0f} photons per pixel).\n"
    )


def _names(rows: Sequence[Row], field: str) -> list[str]:
    return sorted({getattr(row, field) for row in rows})


def atlas_answer(_contest: Contest) -> str:
    """What README answers: photons for an error, what overlap, method, probe and object change."""
    rows = atlas_rows()
    views, methods = list(dict.fromkeys(row.view for row in rows)), methods_of(rows)
    doses = sorted({row.dose for row in rows})
    photons = [geometric_mean([row.photons for row in rows if row.dose == dose]) for dose in doses]

    def errors(method: str, **only: str) -> list[float]:
        own = [row for row in rows if row.method == method and all(getattr(row, k) == v for k, v in only.items())]
        return [geometric_mean([row.error for row in own if row.dose == dose]) for dose in doses]

    means = {method: errors(method) for method in methods}
    best = [min(values) for values in zip(*means.values(), strict=True)]

    def needed(error: float, values: Sequence[float]) -> float:
        return math.exp(np.interp(-math.log(error), -np.log(values), np.log(photons)))

    by_view = [
        [min(errors(method, view=view)[number] for method in methods) for view in views] for number in range(len(doses))
    ]
    spreads = [100 * (max(found) / min(found) - 1) for found in by_view]
    widths = [100 * mean(row.overlap for row in rows if row.view == view) for view in views]
    factors = [needed(error, means["lsqml"]) / n for error, n in zip(means["tv_ml"], photons, strict=True)][1:-1]
    structured = errors("tv_ml", probe="structured")
    saved = [100 * (1 - a / b) for a, b in zip(structured, errors("tv_ml", probe="curved"), strict=True)]
    lead = [100 * (1 - a / b) for a, b in zip(means["pretrained"], means["tv_ml"], strict=True)]
    behind = [100 * (1 - b / a) for a, b in zip(means["pretrained"], means["tv_ml"], strict=True)]
    worst = max(100 * (value / least - 1) for value, least in zip(means["tv_ml"], best, strict=True))
    texture, cells = (needed(0.1, errors("tv_ml", kind=kind)) for kind in ("texture", "cells"))
    low, more, high = (f"{photons[number]:,.0f}" for number in (1, 2, 3))
    return "".join(
        f"- {line}\n"
        for line in (
            f"**Photons.** A phase error of 0.1 rad takes some {needed(0.1, best):.0f} photons per object pixel with "
            f"the best method (`tv_ml` {needed(0.1, means['tv_ml']):.0f}, `lsqml` {needed(0.1, means['lsqml']):.0f}), "
            f"0.06 rad some {needed(0.06, best):.0f}, 0.03 rad some {needed(0.03, best):.0f}.",
            "**Overlap.** At equal photons per object pixel it hardly matters between "
            f"{max(widths):.0f} and {min(widths):.0f} % of the probe's width: fewer frames with more photons each do "
            "as well, as long as probe and positions are known. Errors of the best method differ by "
            f"{min(spreads[:3]):.0f} to {max(spreads[:3]):.0f} % up to "
            f"{more} photons per pixel and by {spreads[3]:.0f} and {spreads[4]:.0f} % above.",
            f"**Method.** At {low} photons per pixel the network that was trained once (`pretrained`) has "
            f"{lead[1]:.0f} % smaller errors than regularised maximum likelihood (`tv_ml`), which is not "
            f"significant; from {more} on `tv_ml` is "
            f"ahead, by {behind[2]:.0f} % there and {behind[3]:.0f} % at {high}. Plain LSQML needs "
            f"{min(factors):.0f} to {max(factors):.0f} times the photons of `tv_ml` for the same error. If "
            f"unsure, take `tv_ml`: it is at most {worst:.0f} % above the best method at any dose.",
            "**Probe and object.** With `tv_ml` a probe structured by a diffuser has errors "
            f"{min(saved[:3]):.0f} to {max(saved[:3]):.0f} % smaller than a curved one up to {more} photons per pixel; "
            f"for 0.1 rad fine texture takes {texture / cells:.0f} times the photons that cells take "
            "([by probe and object](docs/explanation/results/atlas.md#by-probe-and-by-object)).",
        )
    )
