"""Do two data roots hold the same results? For changes of structure that must not change a number.

Every array of every NPZ file, the weights of every bundle and every score of the comparisons are compared by their
place in the tree. Metadata, records and sidecars are not: they hold times, hosts and versions.

    python benchmarks/same_results.py BEFORE AFTER [--tolerance 1e-6]

Prints one line per kind of file, and every file that differs with its largest difference; exits with 1 if one does.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

METADATA = "_metadata"


def members(path: Path) -> dict[str, Any]:
    """Arrays of a result by name: of an NPZ, of a bundle's weights, of a table of scores."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {
                name: archive[name]
                for name in archive.files
                if name != METADATA and archive[name].dtype.kind in "biufc"
            }
    if path.name == "wts.h5.zip":
        with zipfile.ZipFile(path) as bundle:
            content = io.BytesIO(bundle.read("diffraction_to_obj/weights.h5"))
        weights: dict[str, Any] = {}
        with h5py.File(content) as file:
            file.visititems(
                lambda name, item: weights.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        return weights
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        "/".join(row[c] for c in ("arm", "split", "part", "metric")): np.array(_number(row["value"])) for row in rows
    }


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def kind(path: Path) -> str:
    """What a file is, from its place."""
    return next(
        (part for part in path.parts if part in ("training", "inference", "reconstruction", "comparison")), "data"
    )


def files(root: Path) -> Iterator[Path]:
    """Results under a root, relative to it."""
    for pattern in ("**/*.npz", "**/wts.h5.zip", "**/comparison_metrics.csv"):
        yield from (path.relative_to(root) for path in sorted(root.glob(pattern)))


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Largest difference of every array that differs, infinite where shape or type do."""
    found = {}
    for name in sorted({*before, *after}):
        first, second = before.get(name), after.get(name)
        if first is None or second is None or first.shape != second.shape or first.dtype != second.dtype:
            found[name] = np.inf
        elif not np.array_equal(first, second, equal_nan=True):
            found[name] = float(np.nanmax(np.abs(first.astype(np.complex128) - second)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest difference that counts as equal")
    options = parser.parse_args()
    same, near, bad = Counter[str](), Counter[str](), 0
    after = set(files(options.after))
    for path in files(options.before):
        if path not in after:
            print(f"missing after: {path}")
            bad += 1
            continue
        found = differences(members(options.before / path), members(options.after / path))
        worst = max(found.values(), default=0.0)
        if not found:
            same[kind(path)] += 1
        elif worst <= options.tolerance:
            near[kind(path)] += 1
        else:
            bad += 1
            print(f"{path}: " + ", ".join(f"{name} by {value:.3g}" for name, value in found.items()))
    for name in sorted({*same, *near}):
        print(f"{name}: {same[name]} files identical, {near[name]} within {options.tolerance:g}")
    added = after - set(files(options.before))
    print(f"{bad} files differ or are missing; {len(added)} are new")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
