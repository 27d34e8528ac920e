"""How figures are written in reports: few digits, units elsewhere, a dash where there is no value."""

from __future__ import annotations

NO_VALUE = "–"


def number(value: float | None) -> str:
    """Three significant digits, whole numbers from 100 on."""
    return NO_VALUE if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def metric(value: float | None) -> str:
    """Four significant digits, whole numbers from 1000 on."""
    return NO_VALUE if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def share(value: float | None) -> str:
    """Per cent."""
    return NO_VALUE if value is None else f"{100 * value:.0f} %"


def megabytes(value: float) -> str:
    """Bytes as MB."""
    return f"{value / 1e6:,.2f} MB"


def with_spread(value: float | None, spread: float | None) -> str:
    """Value with four decimals and its standard error, where there is one."""
    if value is None:
        return NO_VALUE
    return f"{value:.4f}" if spread is None else f"{value:.4f} ± {spread:.4f}"


def metric_with_spread(value: float | None, spread: float | None) -> str:
    """Value with four significant digits and its standard error, where there is one."""
    return metric(value) if value is None or spread is None else f"{metric(value)} ± {spread:.2g}"
