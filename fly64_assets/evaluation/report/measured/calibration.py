"""What the report says about the calibration: what was taken as known, at what cost, and how good it is.

Belongs here: the facts of ``calibration.json`` as lines of text. Does not belong here: pictures (``probe``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fly64_assets.evaluation.report.page import NO_VALUE, number, share

LEAST_SHARE: Final = 1e-4
"""Share of the power below which only rounding is left to show, and no number is given."""


def calibration_lines(calibration: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of every fact, in the order in which they are shown."""
    lines = [("frames", _frames(calibration)), ("origin", _origin(calibration)), ("fit", _fit(calibration))]
    positions = calibration["positions"]
    if positions["refined"]:
        moved = (
            f"root mean square {number(positions['rms_shift_px'])} px, at most {number(positions['largest_shift_px'])}"
        )
        lines.append(("positions", f"refined: moved by {moved} px"))
    else:
        lines.append(("positions", "as in the file"))
    lines += [("halves", _halves(calibration["halves"])), ("orientation", _orientation(calibration["orientations"]))]
    lines += [(f"deviation: {name}", one["sentence"]) for name, one in calibration["deviations"].items()]
    return [(name, text) for name, text in lines if text]


def calibrated_resolution(calibration: Mapping[str, Any]) -> float | None:
    """Half-bit crossing of two halves of the frames at full counts, a full period [px]; None where there is none."""
    scores = (calibration["halves"] or {}).get("scores", {})
    value: float | None = (scores.get("frc_half_bit") or {}).get("value")
    return value


def _frames(calibration: Mapping[str, Any]) -> str:
    bad = calibration["bad_pixels"]
    masked = f"; {bad:,} pixels of the detector are masked" if bad else ""
    photons = number(calibration["measured_photons"])
    return f"{calibration['frames']:,} measured frames, {photons} photons each on average{masked}"


def _origin(calibration: Mapping[str, Any]) -> str:
    seconds = number(calibration["seconds"])
    if not calibration["calibrated"]:
        return f"object and probe are those of the file ({seconds} s for the checks)"
    return (
        f"LSQML at full counts, probe refined: {calibration['epochs_run']} epochs, epoch {calibration['kept_epoch']} "
        f"kept; stopped: {calibration['stop_reason']}; {seconds} s with all checks"
    )


def _fit(calibration: Mapping[str, Any]) -> str:
    return (
        f"deviance per measured pixel {calibration['deviance']:.4g}, where Poisson counts of a perfect model have "
        f"{calibration['expected_deviance']:.4g} on average: clearly more is misfit, less is fitted noise or scatter"
    )


def _halves(halves: Mapping[str, Any] | None) -> str:
    if halves is None:
        return ""
    scores = halves["scores"]
    periods = [
        f"{label} at {number(found['value'])} px full period"
        for name, label in (("frc_half_bit", "half-bit"), ("frc_05", "0.5"))
        if (found := scores.get(name)) and found["value"] is not None
    ]
    return (
        f"two halves of the frames agree ({'; '.join(periods)})" if periods else "two halves of the frames do not agree"
    )


def _orientation(orientations: Mapping[str, Any] | None) -> str:
    found = (orientations or {}).get("held_out_deviance_per_pixel")
    if not found:
        return ""
    own = next(iter(found))
    others = ", ".join(f"{name} {value:.4g}" for name, value in found.items() if name != own)
    return f"{own} has the deviance {found[own]:.4g} per pixel of counts kept aside, and the least fits best: {others}"


def probe_lines(health: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table: the quantity, of the first probe, of the calibrated one."""
    rows: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "photons of a frame through the probe": lambda probe: number(probe["photons"]),
        "incoherent modes": lambda probe: str(probe["modes"]),
        "diameter of the disc with half of the power [px]": lambda probe: f"{probe['diameter_px']:.1f}",
        "power in the border of the window": lambda probe: _per_cent(probe["power_in_window_border"]),
        "power in the border of the far field": lambda probe: _per_cent(probe["power_in_far_field_border"]),
    }
    lines = [(name, text(health["first"]), text(health["calibrated"])) for name, text in rows.items()]
    return [*lines, ("difference to the first probe, without a common factor", NO_VALUE, share(health["difference"]))]


def _per_cent(value: float) -> str:
    return "< 0.01 %" if value < LEAST_SHARE else f"{100 * value:.2g} %"
