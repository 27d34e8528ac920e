"""Batches of frames that lie together: complete, equal, compact, repeatable; and in place of the library's."""

from __future__ import annotations

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
from dataclasses import replace

import numpy as np
import pytest
from fixtures.scan import measure, soft_probe
from hypothesis import given
from hypothesis import strategies as st

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml import batches, engine
from fly64_assets.lsqml.batches import compact_batches
from fly64_assets.lsqml.settings import LsqmlSettings

library = batches.ptychi.io_handles.PtychographyCompactBatchSampler


def uniform(count: int, seed: int = 0) -> np.ndarray:
    """Positions at a constant density, so that a batch covers the same area in every scan."""
    return np.random.default_rng(seed).uniform(0, 10 * np.sqrt(count), (count, 2))


def spread(positions: np.ndarray, parts) -> float:
    """Root mean square distance of the positions from the centre of their batch."""
    distances = [((positions[part] - positions[part].mean(axis=0)) ** 2).sum(axis=1) for part in map(np.asarray, parts)]
    return float(np.sqrt(np.concatenate(distances).mean()))


@given(count=st.integers(1, 300), size=st.integers(1, 70), same=st.booleans())
def test_every_frame_is_in_one_batch_and_batches_are_equal(count: int, size: int, same: bool) -> None:
    positions = np.zeros((count, 2)) if same else uniform(count, seed=count)
    parts = compact_batches(positions, size)
    assert len(parts) == -(-count // size)
    sizes = [len(part) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= size
    assert sizes[0] - sizes[-1] <= 1
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(count))


def test_batches_are_as_compact_as_the_librarys() -> None:
    positions = uniform(1500)
    theirs = library(positions, 50).clusters_of_indices
    ours = compact_batches(positions, 50)
    assert len(ours) == len(theirs)
    assert spread(positions, ours) < 1.1 * spread(positions, theirs)


def test_a_grid_is_cut_into_squares() -> None:
    y, x = np.divmod(np.arange(64), 8)
    parts = compact_batches(np.c_[y, x].astype(float), 16)
    assert [np.ptp(np.c_[y, x][part], axis=0).tolist() for part in parts] == [[3, 3]] * 4


@pytest.fixture(scope="module")
def scan():
    obj = np.exp(1j * np.random.default_rng(1).uniform(0, 0.5, (110, 110)))
    return measure(obj, soft_probe(64), 90, 1e4)


def tasks(measurement, monkeypatch, most: int):
    monkeypatch.setattr(batches, "MOST_CLUSTERED", most)
    found = []
    make = engine._task
    monkeypatch.setattr(engine, "_task", lambda *arguments: found.append(make(*arguments)) or found[-1])
    settings = replace(LsqmlSettings(), epochs=3, stopping="epochs", batch_size=16)
    result = engine.reconstruct(measurement, settings, Execution(threads=1), 1, lambda *_: None)
    return found[0].reconstructor.dataloader.batch_sampler, result


def test_many_frames_are_batched_here_and_few_by_the_library(scan, monkeypatch) -> None:
    for most in (10, 16_384):
        sampler, result = tasks(scan, monkeypatch, most)
        ours = [part.tolist() for part in compact_batches(sampler.positions, 16)]
        assert ([part.tolist() for part in sampler.clusters_of_indices] == ours) == (most == 10)
        assert np.isfinite(result.object).all()
        assert library.build_clusters is not batches._build_clusters
