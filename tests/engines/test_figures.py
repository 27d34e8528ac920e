"""The common picture of an object: cropped to the measured pixels, without the undetermined phase."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fly64_assets.engines.figures import draw_object, png


@pytest.fixture
def obj():
    rows, columns = np.mgrid[:30, :40]
    return (1 + 0.01 * rows) * np.exp(0.02j * columns)


def drawn(obj, mask):
    figure = Figure()
    axes = figure.subplots(1, 2)
    draw_object(figure, axes, obj, mask)
    return [axis.images[0] for axis in axes]


def test_amplitude_and_phase_are_cropped_to_the_mask_and_masked_inside(obj):
    mask = np.zeros(obj.shape, bool)
    mask[5:20, 10:30] = True
    mask[7, 12] = False
    amplitude, phase = drawn(obj, mask)
    assert [image.get_extent() for image in (amplitude, phase)] == [[10, 30, 20, 5]] * 2
    expected = np.where(mask, np.abs(obj), np.nan)[5:20, 10:30]
    np.testing.assert_array_equal(np.ma.filled(amplitude.get_array(), np.nan), expected)
    assert (amplitude.get_cmap().name, phase.get_cmap().name) == ("gray", "cividis")


def test_a_global_phase_changes_no_picture(obj):
    mask = np.ones(obj.shape, bool)
    for one, other in zip(drawn(obj, mask), drawn(obj * np.exp(2.5j), mask), strict=True):
        np.testing.assert_allclose(one.get_array(), other.get_array(), atol=1e-12)


def test_without_a_measured_pixel_the_whole_object_is_drawn(obj):
    amplitude, _ = drawn(obj, np.zeros(obj.shape, bool))
    assert amplitude.get_array().shape == obj.shape


def test_a_limit_of_bytes_lowers_the_resolution(obj):
    figure = Figure()
    figure.subplots().imshow(np.random.default_rng(1).random(obj.shape))
    whole, small = png(figure), png(figure, max_bytes=12_000)
    assert len(small) <= 12_000 < len(whole)
    with Image.open(io.BytesIO(small)) as one, Image.open(io.BytesIO(whole)) as other:
        assert one.width < other.width
