"""Tables of README and of the page on the atlas, from the table in the package."""

from collections.abc import Sequence
from statistics import mean

from table_rows import Contest, table

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


def _names(rows: Sequence[Row], field: str) -> list[str]:
    return sorted({getattr(row, field) for row in rows})
