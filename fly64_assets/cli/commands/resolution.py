"""``fly64 resolution``: how fine a measurement can be resolved, from two halves of its frames and without a truth."""

from __future__ import annotations

import math
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from fly64_assets.cli.console import FolderPath, Session, fail, json_option, pass_session, print_json
from fly64_assets.cli.file_options import force_option, refuse_to_replace
from fly64_assets.cli.inputs import OBJECT, measured_dataset, result_arrays
from fly64_assets.contract.metadata import derive_metadata, transformation
from fly64_assets.contract.npz import load_measurement
from fly64_assets.contract.schema import Dataset
from fly64_assets.engines.execution import reconstruction_request
from fly64_assets.engines.process import run_isolated
from fly64_assets.evaluation.scores.resolution import compare_halves, half_indices
from fly64_assets.physics.forward import blocks
from fly64_assets.simulation.views import write_view
from fly64_assets.store.atomic import write_atomically
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import STAGES

HALF = "half_{number}.npz"
RESULT = "ptychi_reconstruction.npz"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--objects",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="FILE FILE",
    help=f"Reconstructions (NPZ with '{OBJECT}') of the two halves by any method; by default LSQML makes them.",
)
@click.option(
    "--save",
    type=FolderPath(),
    help="Keep the halves (half_1.npz, half_2.npz) and their reconstructions in this folder.",
)
@force_option
@json_option
@pass_session
def resolution(
    session: Session, file: Path, objects: tuple[Path, Path] | None, save: Path | None, force: bool, as_json: bool
) -> None:
    """Measure the resolution of a data set without a truth.

    By Fourier ring correlation of reconstructions from two independent halves of its frames. No truth is needed, so it
    works on measured data, which hold no object, in any form that `fly64 import` reads without a guess. What
    both halves get wrong alike (a prior, a wrong probe) counts as resolved: the number says how far a result can be
    repeated.

    \b
    Example:
      fly64 resolution data/demo/*/dose_10000/dense/dense_test.npz
      fly64 resolution mine.npz --save halves  # then reconstruct the halves in any other way, and
      fly64 resolution mine.npz --objects a.npz b.npz
    """
    design = session.design()
    with nullcontext(save) if save else tempfile.TemporaryDirectory(prefix="fly64_halves_") as name:
        folder = Path(name)
        halves = [folder / HALF.format(number=number) for number in (1, 2)]
        made = [] if objects else [folder / half.stem / RESULT for half in halves]
        refuse_to_replace([*halves, *made], force, file, *(objects or ()))
        dataset = measured_dataset(file, "compare")
        try:
            chosen = half_indices(dataset.scan_index)
        except ValueError as error:
            fail(f"{file}: {error}")
        folder.mkdir(parents=True, exist_ok=True)
        for path, kept in zip(halves, chosen, strict=True):
            _write_half(path, dataset, kept)
        if objects is None:
            found = [_reconstruct(design, path, folder, not as_json) for path in halves]
        else:
            found = [result_arrays(path)[OBJECT] for path in objects]
        measurements = [load_measurement(path) for path in halves]
        try:
            result = compare_halves(
                (found[0], found[1]),
                (measurements[0], measurements[1]),
                coverage_threshold=design.evaluation.coverage_threshold,
                max_shift_px=design.evaluation.max_shift_px,
                frc_threshold=design.metrics_config.frc_threshold,
                remove_ramp=objects is None and design.lsqml.probe == "refined",
            )
        except ValueError as error:
            fail(f"the two reconstructions do not fit {file.name}: {error}")
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(f"two halves of {' and '.join(str(n) for n in result.frames)} frames")
    for name, threshold in {"frc_05": "threshold of the design", "frc_half_bit": "half-bit curve"}.items():
        score: Any = result.scores[name]
        value = "none" if score.value is None else f"{score.value:.2f} px"
        click.echo(f"  full period at the {threshold}: {value}{f' ({score.reason})' if score.reason else ''}")


def _write_half(path: Path, dataset: Dataset, kept: NDArray[np.int64]) -> None:
    entry = transformation("half", {"frames": len(kept), "of": dataset.frames})
    # The measured counts, not expected ones: measured data have no truth.
    measured = dataset.measurement()
    arrived = math.fsum(float(measured.counts(kept[part]).sum()) for part in blocks(len(kept)))
    physics = {"expected_mean_counts": arrived / len(kept)}
    if not dataset.metadata.get("split"):
        physics["nphotons"] = physics["expected_mean_counts"]
    metadata = derive_metadata(dataset.metadata, entry, physics=physics)
    write_atomically(path, lambda file: write_view(dataset, kept, file, metadata=metadata))


def _reconstruct(design: StudyDesign, half: Path, folder: Path, verbose: bool) -> NDArray[np.complexfloating]:
    """The object that LSQML finds in one half, with the design's settings, in a process of its own."""
    from fly64_assets.resources.gpu import GpuResource

    out = folder / half.stem
    out.mkdir(exist_ok=True)
    execution = GpuResource().execution()
    settings, seed = design.lsqml.parameters(), design.rng_seeds["grouping"]
    request = reconstruction_request(half, out, settings, seed, execution, {"half": half.stem})
    if verbose:
        click.echo(f"{half.stem}: lsqml, up to {design.lsqml.epochs} epochs", err=True)
    job = f"{STAGES['lsqml_reconstruction_train'].engine}:reconstruct_job"
    run_isolated(job, request, execution=execution, log_path=out / "ptychi.log")
    return result_arrays(out / RESULT)[OBJECT]
