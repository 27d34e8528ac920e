"""A running engine in the UI: the curves of what it reports and its object so far, as observations of its asset.

Does not belong here: what an engine reports and draws (the engines), and pictures of its result (the assets).
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from fly64_assets.assets.flow import picture

SIZE: Final = (360, 110)
"""Width and height of the picture [px]."""
MARGIN: Final = 8
INK, PAPER, GRID = (0, 114, 178), (255, 255, 255), (200, 205, 212)

Curve = Sequence[float]


class Curves:
    """What an engine has reported so far, by name."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """One more report; several reconstructions of one engine follow each other."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(float(value))

    def observation(
        self, context: dg.AssetExecutionContext, label: str, done: int, total: int, obj: bytes | None
    ) -> dg.AssetObservation:
        """Progress, the newest values, and the curve of each as a small picture, for the event log of the run.

        ``obj`` is a PNG of the object so far, if the engine has drawn one since the last observation.
        """
        metadata: dict[str, Any] = {"at_work_on": label, "done": done, "total": total}
        if obj:
            metadata["live_object"] = picture(obj)
        for name, values in self._values.items():
            metadata[f"live_{name}".replace(" ", "_")] = values[-1]
            if len(values) > 1:
                metadata[f"live_{name}_curve".replace(" ", "_")] = picture(curve_picture(values))
        partition = context.partition_key if context.has_partition_key else None
        return dg.AssetObservation(context.asset_key, partition=partition, metadata=metadata)


def curve_picture(values: Curve) -> bytes:
    """The course of a number as PNG: the first value on the left, the smallest at the bottom, the newest marked."""
    from PIL import Image, ImageDraw

    width, height = SIZE
    low, high = min(values), max(values)
    across, along = (width - 2 * MARGIN) / max(1, len(values) - 1), (height - 2 * MARGIN) / ((high - low) or 1)
    points = [(MARGIN + k * across, height - MARGIN - (value - low) * along) for k, value in enumerate(values)]
    image = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(image)
    for edge in (MARGIN, height - MARGIN):
        draw.line([(MARGIN, edge), (width - MARGIN, edge)], fill=GRID)
    draw.line(points, fill=INK, width=2)
    (x, y), radius = points[-1], 3
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=INK)
    draw.text((MARGIN + 2, MARGIN + 1), f"{high:.4g}", fill=(60, 60, 60))
    draw.text((MARGIN + 2, height - MARGIN - 12), f"{low:.4g}", fill=(60, 60, 60))
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
