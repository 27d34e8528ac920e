"""``fly64 export``: data sets, reconstructions and scores as files of other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import numpy as np
from click.core import ParameterSource
from numpy.typing import NDArray

from fly64_assets import __version__
from fly64_assets.cli.console import Positive, Session, fail, file_argument, pass_session
from fly64_assets.cli.file_options import force_option, refuse_to_replace, say_finding
from fly64_assets.cli.inputs import OBJECT, require_scale, result_arrays
from fly64_assets.cli.options import chosen_cells
from fly64_assets.contract.metadata import DISTANCE, PIXEL_SIZE, TOOL, WAVELENGTH
from fly64_assets.contract.npz import load_dataset, validate_file
from fly64_assets.contract.schema import Dataset
from fly64_assets.formats.units import Optics, recorded_optics
from fly64_assets.formats.writing.content import Product, product_of
from fly64_assets.physics.scan import SPLITS
from fly64_assets.store.atomic import write_atomically
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import REPORT, Half
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import fetched
from fly64_assets.study.results import METHODS, find_reconstruction
from fly64_assets.study.states import active_layout, study_states

OPTICS: Final = {PIXEL_SIZE: "--pixel-size", WAVELENGTH: "--wavelength", DISTANCE: "--distance"}
"""Options by the physics parameter that each stands for."""

DATA_FORMS: Final = {".cxi": "CXI", ".npz": "ptychodus"}
OBJECT_FORMS: Final = {".h5": "ptychodus", ".hdf5": "ptychodus", ".cxi": "CXI", ".tif": "TIFF", ".tiff": "TIFF"}
TABLE_FORMS: Final = {".csv": "CSV", ".parquet": "Parquet"}
"""Forms of data sets, reconstructions and tables by the ending of the file."""

PLACE: Final = ("method", "dose", "view", "split", "repeat")
"""Options that name a reconstruction of the study."""


def _out(forms: Mapping[str, str]) -> Callable[[click.Context, click.Parameter, Path], Path]:
    def known(_context: click.Context, _parameter: click.Parameter, value: Path) -> Path:
        if value.suffix not in forms:
            said = ", ".join(f"{ending} ({form})" for ending, form in forms.items())
            raise click.BadParameter(f"{value.name} has none of the endings that are written: {said}")
        return value

    return known


def _out_argument(forms: Mapping[str, str]) -> Callable[..., Any]:
    return click.argument("out", type=click.Path(path_type=Path, dir_okay=False), callback=_out(forms))


def _optics_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options about the geometry; it gets them one by one."""
    metres = Positive()
    for option in (
        click.option(OPTICS[DISTANCE], type=metres, metavar="M", help="Sample to detector [m], where no file says."),
        click.option(OPTICS[WAVELENGTH], type=metres, metavar="M", help="Wavelength [m], where no file says."),
        click.option(OPTICS[PIXEL_SIZE], type=metres, metavar="M", help="Object pixel [m], where no file says."),
    ):
        command = option(command)
    return command


@click.group()
def export() -> None:
    """Write data sets, reconstructions and scores for other programs.

    The ending of OUT says which file it becomes. Data sets for PtychoPINN: `fly64 legacy export`.

    \b
    Example:
      fly64 export data mine.npz mine.cxi
    """


@export.command("data")
@file_argument
@_out_argument(DATA_FORMS)
@click.option(
    "--object", "with_object", is_flag=True, help="Also the object: of simulated data the truth. Default: ones."
)
@_optics_options
@force_option
def export_data(file: Path, out: Path, with_object: bool, force: bool, **given: float | None) -> None:
    """Write a data set as CXI (.cxi) or for ptychodus (.npz).

    Counts, positions in metres about the object's centre, bad pixels, the probe and the geometry. Where the data set
    does not say the pixel size, the wavelength or the distance, the options do.

    \b
    Example:
      fly64 export data mine.npz mine.cxi --pixel-size 1e-8 --wavelength 1.5e-10 --distance 2
    """
    from fly64_assets.formats.writing.cxi import write_cxi
    from fly64_assets.formats.writing.ptychodus import write_archive

    refuse_to_replace([out], force, file)
    dataset = _data_set(file)
    measurement = dataset.measurement()
    optics = _optics(file, dataset.metadata, given)
    comments = _origin(file)
    obj = dataset.object if with_object else None
    product = product_of(measurement, optics, obj, name=file.stem, comments=comments)
    if out.suffix == ".cxi":
        write_atomically(out, lambda target: write_cxi(target, product, measurement, dataset.metadata))
    else:
        write_atomically(out, lambda target: write_archive(target, product, measurement))
    bad = 0 if measurement.bad_pixels is None else int(measurement.bad_pixels.sum())
    click.echo(
        f"{out}: {DATA_FORMS[out.suffix]}, {measurement.frames} frames, {bad} bad pixels, {_geometry(product)}; "
        + ("the object of the file" if with_object else "the object is ones (--object writes that of the file)")
    )


@export.command("reconstruction")
@_out_argument(OBJECT_FORMS)
@click.option("--method", type=click.Choice(METHODS), help="Method of the study.")
@click.option("--dose", type=float, metavar="PHOTONS", help="Photons per frame.")
@click.option("--view", metavar="VIEW", help="View of the cell.")
@click.option("--split", type=click.Choice(SPLITS), help="Half of the scan.")
@click.option(
    "--repeat", type=click.IntRange(1), metavar="N", default=1, show_default=True, help="Repeat of the study."
)
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"A reconstruction by file (NPZ with '{OBJECT}'), in place of the five options above.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --file: the data set it was made from, for positions and probe. TIFF does without.",
)
@_optics_options
@force_option
@pass_session
def export_reconstruction(
    session: Session, /, out: Path, file: Path | None, data: Path | None, force: bool, **given: Any
) -> None:
    """Write an object for other programs.

    As a ptychodus product (.h5), CXI (.cxi) or TIFF (.tif).

    Products and CXI files have the probe, the positions and the loss as well. A TIFF has amplitude and phase, float32,
    with the pixel size where it is known.

    \b
    Example:
      fly64 export reconstruction out.tif --method lsqml --dose 1e3 --view dense --split test
      fly64 export reconstruction out.h5 --file ptychi_reconstruction.npz --data mine.npz
    """
    chosen = {name: given.pop(name) for name in PLACE}
    chosen_file = _chosen(session, chosen, file, data)
    inputs = [path for path in (chosen_file.result, chosen_file.data) if path is not None]
    refuse_to_replace([out], force, *inputs)
    arrays = result_arrays(chosen_file.result)
    obj = arrays[OBJECT]
    if obj.ndim != 2 or obj.dtype.kind != "c" or not np.isfinite(obj).all():
        found = f"{obj.dtype} of shape {obj.shape}"
        fail(f"{chosen_file.result}: '{OBJECT}' is {found}; expected finite complex numbers of shape (H, W)")
    if OBJECT_FORMS[out.suffix] == "TIFF":
        _write_tiff(out, obj, chosen_file.data, given)
        return
    if chosen_file.data is None:
        raise click.UsageError(
            f"{out.suffix} holds positions and probe: give the data set with --data, or write a .tif"
        )
    product = _product(chosen_file, arrays, _data_set(chosen_file.data), given)
    _write_product(out, product)
    click.echo(f"{out}: {OBJECT_FORMS[out.suffix]}, object of {obj.shape[0]} x {obj.shape[1]}, {_geometry(product)}")


@export.command("scores")
@_out_argument(TABLE_FORMS)
@force_option
@pass_session
def export_scores(session: Session, out: Path, force: bool) -> None:
    """Write every score of the study's report.

    As CSV (.csv) or Parquet (.parquet).

    \b
    Example:
      fly64 export scores scores.parquet
    """
    from fly64_assets.evaluation.report.summary import TABLE_NUMBERS
    from fly64_assets.formats.writing.tables import typed, write_parquet

    design = session.design()
    store = session.store(design)
    path = active_layout(store).report_folder / "study_metrics.csv"
    if not fetched(path).exists():
        fail(f"{path} does not exist: `fly64 report` makes it from the comparisons that are there")
    verified(path)
    state = study_states(store, design, quick=True)[REPORT]
    if not state.done:
        click.echo(f"fly64: the report is out of date: {state.reason} (`fly64 report` makes it anew)", err=True)
    refuse_to_replace([out], force, path)
    content = path.read_bytes()
    columns = typed(content.decode("utf-8"), TABLE_NUMBERS)
    if out.suffix == ".csv":
        write_atomically(out, lambda target: target.write(content))
    else:
        write_atomically(out, lambda target: write_parquet(target, columns, TABLE_NUMBERS))
    click.echo(f"{out}: {TABLE_FORMS[out.suffix]}, {len(columns['value'])} scores")


class _Chosen(NamedTuple):
    """A reconstruction's file, its data set where one is known, and what it is called."""

    result: Path
    data: Path | None
    name: str


def _chosen(session: Session, place: Mapping[str, Any], file: Path | None, data: Path | None) -> _Chosen:
    """By file, or by method and place in the study; anything between is a usage error."""
    context = click.get_current_context()
    given = [name for name in PLACE if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if file is not None:
        if given:
            raise click.UsageError(f"--file and --{given[0]} exclude each other: a reconstruction has one place")
        return _Chosen(file, data, file.stem)
    if data is not None:
        raise click.UsageError("--data belongs to --file: the study knows the frames of its reconstructions")
    missing = [f"--{name}" for name in PLACE if place[name] is None]
    if missing:
        raise click.UsageError(f"Missing {', '.join(missing)}, or --file for a reconstruction by file")
    design = session.design()
    (dose,), (view,) = chosen_cells(design, [place["dose"]], [place["view"]])
    if place["repeat"] > design.repeats:
        why = f"study {design.name} has {design.repeats} repeat(s)"
        raise click.BadParameter(f"{place['repeat']}: {why}", param_hint="--repeat")
    half = Half(dose, view, place["split"], place["repeat"])
    found = find_reconstruction(session.store(design), design, place["method"], half)
    if found.stale:
        click.echo(f"fly64: {found.label} is out of date: {found.stale}", err=True)
    return _Chosen(found.result, found.frames, f"{design.name} {found.label}")


def _data_set(file: Path) -> Dataset:
    """A data set that obeys DATA-001 and has counts; findings that stop nothing are printed."""
    report = validate_file(file)
    report.raise_if_failed(str(file))
    for finding in report.findings:
        say_finding(finding, err=True)
    dataset = load_dataset(file)
    require_scale(file, dataset, "export")
    return dataset


def _origin(*files: Path) -> str:
    """Where a file comes from: this version, and the names and hashes of its sources."""
    sources = "; ".join(f"{file.name} with SHA256 {sha256_file(file)}" for file in files)
    return f"{TOOL} {__version__} from {sources}"


def _known_optics(
    file: Path | None, metadata: Mapping[str, Any], given: Mapping[str, float | None]
) -> dict[str, float]:
    """What a file records and what the options say; leave if the two differ."""
    known = recorded_optics(metadata)
    for name, option in OPTICS.items():
        value = given[option.removeprefix("--").replace("-", "_")]
        if value is None:
            continue
        if name in known and not np.isclose(known[name], value, rtol=1e-6, atol=0):
            fail(f"{file} records {name} = {known[name]:.9g}, {option} says {value:.9g}: leave the option out")
        known.setdefault(name, value)
    return known


def _optics(file: Path, metadata: Mapping[str, Any], given: Mapping[str, float | None]) -> Optics:
    """Geometry of a data set; leave, and name the options, where it is not known."""
    known = _known_optics(file, metadata, given)
    missing = [name for name in OPTICS if name not in known]
    if missing:
        options = " ".join(f"{OPTICS[name]} M" for name in missing)
        fail(
            f"{file} does not record {', '.join(missing)} (physics_parameters in _metadata), and positions are written "
            f"in metres: give {options}"
        )
    return Optics(*(known[name] for name in OPTICS))


def _product(
    chosen: _Chosen, arrays: Mapping[str, NDArray[Any]], dataset: Dataset, given: Mapping[str, float | None]
) -> Product:
    """What a reconstruction and its data set make together."""
    assert chosen.data is not None
    try:
        return product_of(
            dataset.measurement(),
            _optics(chosen.data, dataset.metadata, given),
            arrays[OBJECT],
            arrays.get("reconstructed_probe"),
            name=chosen.name,
            comments=_origin(chosen.result, chosen.data),
            loss=arrays.get("loss"),
        )
    except ValueError as error:
        fail(f"{chosen.result} does not belong to {chosen.data}: {error}")


def _write_product(out: Path, product: Product) -> None:
    from fly64_assets.formats.writing.cxi import write_cxi
    from fly64_assets.formats.writing.ptychodus import write_product

    writer = write_cxi if out.suffix == ".cxi" else write_product
    write_atomically(out, lambda target: writer(target, product))


def _write_tiff(
    out: Path, obj: NDArray[np.complexfloating], data: Path | None, given: Mapping[str, float | None]
) -> None:
    from fly64_assets.formats.writing.tiff import write_tiff

    metadata = {} if data is None else load_dataset(data).metadata
    pixel = _known_optics(data, metadata, given).get(PIXEL_SIZE)
    write_atomically(out, lambda target: write_tiff(target, obj, pixel))
    said = f"object pixel {1e9 * pixel:.6g} nm" if pixel else f"without a pixel size ({OPTICS[PIXEL_SIZE]} gives one)"
    click.echo(f"{out}: TIFF, amplitude and phase of {obj.shape[0]} x {obj.shape[1]}, {said}")


def _geometry(product: Product) -> str:
    optics = product.optics
    return (
        f"object pixel {1e9 * optics.pixel_size_m:.6g} nm, {optics.energy_ev:.6g} eV, detector pixel "
        f"{1e6 * optics.detector_pixel(product.patch_size):.6g} um at {optics.distance_m:.6g} m"
    )
