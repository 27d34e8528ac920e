"""Phase synchronisation: the free global phase of every patch, from its overlaps with neighbouring patches.

Belongs here: the overlap graph and its solution. Does not belong here: assembly of the object
(:mod:`fly64_assets.pinn.stitching`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

NEIGHBOURS: Final = 16
"""Overlaps considered per patch; more add little, since nearer patches overlap most."""
STEPS: Final = 3
"""Gauss-Newton steps; the problem is linear but for phase wraps."""
PRIOR: Final = 1e-3
"""Weight of a patch's own phase against its overlaps: keeps patches that overlap with no other in place."""


def synchronised_phases(
    patches: NDArray[np.complexfloating], weight: Float, x: Float, y: Float
) -> Complex:
    """Unit factors a_j that make the patches agree where they overlap.

    Minimises sum_jk |h_jk| arg(conj(a_j) a_k h_jk)^2 over neighbouring pairs, with h_jk the weighted inner product
    of patches j and k over their overlap, by Gauss-Newton steps on the graph's Laplacian. Unlike repeated local
    re-alignment, whose errors spread by one overlap per sweep, it also finds the phase differences across the whole
    field. Time and memory are linear in the number of patches (sparse conjugate gradients).

    Parameters
    ----------
    patches : (n, M, M) complex
        Patches centred on the positions; may be memory-mapped.
    weight : (M, M) float64
    x, y : (n,) float64 [px]

    Returns
    -------
    (n,) complex128
    """
    n = len(x)
    first, second = _neighbouring_pairs(x, y, weight.shape[0])
    products = np.array(
        [
            _overlap(patches, weight, x, y, j, k)
            for j, k in zip(first.tolist(), second.tolist(), strict=True)
        ],
        np.complex128,
    )
    strength = np.abs(products)
    phases = np.ones(n, np.complex128)
    if not strength.sum() > 0:
        return phases
    laplacian = scipy.sparse.coo_matrix(
        (np.concatenate([-strength, -strength]), (np.concatenate([first, second]), np.concatenate([second, first]))),
        shape=(n, n),
    ).tocsr()
    degree = -np.asarray(laplacian.sum(axis=1)).ravel()
    diagonal = degree + PRIOR * degree.mean()
    matrix = (laplacian + scipy.sparse.diags(diagonal)).tocsr()
    precondition = scipy.sparse.diags(1.0 / diagonal)
    own = np.zeros(n)
    for _ in range(STEPS):
        residual = strength * np.angle(phases[first].conj() * phases[second] * products)
        gradient = np.bincount(first, residual, n) - np.bincount(second, residual, n) - PRIOR * degree.mean() * own
        step, _ = scipy.sparse.linalg.cg(matrix, gradient, rtol=1e-6, maxiter=2000, M=precondition)
        own += step
        phases = np.exp(1j * own)
    return phases


def _neighbouring_pairs(x: Float, y: Float, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs j < k of near positions whose windows overlap."""
    n = len(x)
    count = min(NEIGHBOURS + 1, n)
    points = np.column_stack([y, x])
    _, found = cKDTree(points).query(points, k=count)
    pairs = np.column_stack([np.repeat(np.arange(n), count), np.asarray(found).reshape(-1)])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    distance = np.abs(points[pairs[:, 0]] - points[pairs[:, 1]]).max(axis=1)
    pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (distance < side - 1)]
    return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)


def _overlap(
    patches: NDArray[np.complexfloating], weight: Float, x: Float, y: Float, j: int, k: int
) -> complex:
    """Inner product <p_j, p_k> over the overlap, weighted by both; positions to the nearest pixel."""
    side = weight.shape[0]
    down, right = round(float(y[k] - y[j])), round(float(x[k] - x[j]))
    in_j = np.s_[max(0, down) : side + min(0, down), max(0, right) : side + min(0, right)]
    in_k = np.s_[max(0, -down) : side + min(0, -down), max(0, -right) : side + min(0, -right)]
    both = weight[in_j] * weight[in_k]
    return complex(np.vdot(patches[j][in_j], both * patches[k][in_k]))
