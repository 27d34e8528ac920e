"""What pty-chi's LSQML judges itself by, on the measured pixels of the detector alone.

The library leaves the pixels that its ``valid_pixel_mask`` excludes out of every step and every step length, but counts
them in the loss that it records, and in the error of the far field by whose rise it switches the momentum off. There is
no count in them, so that both would rise with what a good object scatters there.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def judge_measured_pixels(task: Any) -> None:
    """Leave the pixels that an LSQML task of the library does not measure out of its loss and its far-field error."""
    reconstructor = task.reconstructor
    tracker, good = reconstructor.loss_tracker, reconstructor.dataset.valid_pixel_mask
    metric, update_error = tracker.metric_function, reconstructor.update_fourier_error

    def measured_metric(y_pred: Tensor, y_true: Tensor) -> Tensor:
        value: Tensor = metric(y_pred[:, good], y_true[:, good])
        return value

    def measured_error(y_pred: Tensor, y_true: Tensor) -> None:
        update_error(*(counts * good.to(counts.device) for counts in (y_pred, y_true)))

    tracker.metric_function, reconstructor.update_fourier_error = measured_metric, measured_error
