"""The table of stages: one row for each asset of the study.

Dependencies, jobs, automation, run tags, states, plans and filters are derived from this table (``study.stages``). To
add an iterative method, add a call to ``_ITERATIVE``. Does not belong here: on which settings a stage depends
(``study.stage_settings``), what it computes (``assets``), what is on disk (``study.states``), Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fly64_assets.physics.scan import SPLITS
from fly64_assets.pinn.settings import cnn_settings
from fly64_assets.store.keys import KINDS, Cell, Coordinates, Dose, Half, StageKey
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.documents import plain
from fly64_assets.study.stage_settings import (
    Settings,
    base_settings,
    iterative_settings,
    network_settings,
    pairs_settings,
    pretrained_settings,
    simulated_settings,
    tv_ml_settings,
    view_settings,
)

Key = StageKey[Coordinates]
ENGINE_GIB: Final = 4
"""Memory that a cluster grants an engine's step, enough for a study of the size of `fly64`."""
TRAIN: Final = "train"
"""The half of the scan on which networks are trained."""


def design_cells(design: StudyDesign, dose: int, repeat: int = 1) -> Iterator[Cell]:
    """All cells of one dose."""
    yield from (Cell(dose, view, repeat) for view in design.views)


@dataclass(frozen=True)
class Stage:
    """One asset of the study; ``description`` is for the scientist who finds it in the UI."""

    asset: str
    kind: str  # one of store.keys.KINDS: coordinates, folder and main files
    description: str
    of_measured: str = ""  # its description in a study of measured frames, if that is another one
    group: str = "data"  # of the asset in the UI
    tool: str = "numpy"  # the library that does the work
    needs: tuple[str, ...] = ()  # assets whose results it uses; the first is the one whose update calls for it
    reads_base: bool = False  # the base file too, although a new base reaches it through `needs` only
    method: str = ""  # that trains or reconstructs; empty for kinds without methods
    split: str = ""  # the half of the scan that it works on; empty for both
    settings: Settings = lambda _design, _key: {}
    code_version: str = "1"  # raised when the code gives other results for the same inputs
    engine: str = ""  # module whose jobs work in a process of their own; empty for work in the process of the run
    section: str = ""  # of the design, with the settings of its method
    job: str = "cell"  # named job that materialises it
    on_request: bool = False  # belongs to a study only where it was requested or has run already
    cpus: int = 1  # processor cores that a step keeps busy, on a cluster
    memory_gib: int = 2  # memory that a step is granted there
    checks: tuple[str, ...] = ()  # its own, beside those that all assets have

    def key(self, design: StudyDesign, at: Coordinates) -> Key:
        """Its stage at some coordinates; of a cell's halves the one that it works on."""
        kind = KINDS[self.kind]
        if kind.coordinates is Half and isinstance(at, Cell):
            at = at.half(self.split)
        view = at.view if isinstance(at, Cell) else ""
        gridsize = design.gridsize(view) if kind.has_gridsize else 0
        return StageKey(self.kind, at, self.method if kind.has_method else "", gridsize)

    def keys(self, design: StudyDesign, repeats: Iterable[int] | None = None) -> Iterator[Key]:
        """All its stages in a study, or in some repeats of it."""
        coordinates = KINDS[self.kind].coordinates
        if coordinates not in (Dose, Cell, Half):
            yield StageKey(self.kind, coordinates())
            return
        for repeat in range(1, design.repeats + 1) if repeats is None else repeats:
            for dose in design.doses:
                for place in [Dose(dose, repeat)] if coordinates is Dose else design_cells(design, dose, repeat):
                    yield self.key(design, place)

    @property
    def partitioned_by(self) -> type[Coordinates]:
        """What a partition of the asset is: a dose, a cell, or the study as a whole."""
        coordinates = KINDS[self.kind].coordinates
        return Cell if coordinates is Half else coordinates


def _comparison_settings(design: StudyDesign, _key: Key) -> dict[str, Any]:
    document = design.to_dict()
    # A comparison of older code has other columns: it is out of date.
    version = STAGES["comparison"].code_version
    return {"evaluation": document["evaluation"], "metrics_config": document["metrics_config"], "version": version}


def _network(
    method: str,
    *,
    train: str,
    infer: str,
    settings: Settings,
    versions: tuple[str, str],
    checks: tuple[str, ...] = (),
    **common: Any,
) -> tuple[Stage, Stage]:
    """The two assets of a network: its training on the train half, and its reconstruction of both halves."""
    return (
        Stage(
            f"{method}_bundle", "training", train, needs=("overlap_view",), method=method, settings=settings,
            code_version=versions[0], checks=("learned", *checks),
            memory_gib=ENGINE_GIB, **common,
        ),
        Stage(
            f"{method}_reconstruction", "inference", infer, needs=("overlap_view", f"{method}_bundle"), method=method,
            settings=lambda design, key: {"arm": key.method, **pairs_settings(design, *SPLITS)},
            code_version=versions[1], memory_gib=ENGINE_GIB, **common,
        ),
    )  # fmt: skip


def _iterative(
    method: str,
    description: str,
    *,
    section: str,
    settings: Settings | None = None,
    needs: tuple[str, ...] = (),
    code_version: str = "1",
    **common: Any,
) -> tuple[Stage, ...]:
    """The two assets of a method without training: one for each half of the scan."""
    fixed = {"start": "pinn"} if needs else {}
    return tuple(
        Stage(
            f"{method}_reconstruction_{split}", "reconstruction", description.format(split=split), tool="pytorch",
            needs=("overlap_view", *needs), method=method, split=split, section=section,
            settings=settings or iterative_settings(section, **fixed), code_version=code_version,
            memory_gib=ENGINE_GIB, **common,
        )
        for split in SPLITS
    )  # fmt: skip


_PINN: Final = _network(
    "pinn",
    train="A network trained on the view's train frames by the photon likelihood alone; it never sees the truth. The "
    "bundle `wts.h5.zip` holds everything needed to run it again.",
    infer="The object that the trained network reconstructs from the train half and from the unseen test half.",
    settings=network_settings(lambda design: design.pinn),
    versions=("4", "3"),
    group="pinn",
    tool="pytorch",
    engine="fly64_assets.pinn.job",
)
_LEGACY_PINN: Final = _network(
    "legacy_pinn",
    train="The published network (`cnn`) in TensorFlow, trained on the train frames by the photon likelihood alone. "
    "Its parameters go through PtychoPINN's dictionary, filled for this training and put back after it; the bundle "
    "holds a snapshot, which the check `config_001` compares with the design. Either backend runs the bundle.",
    infer="The object that the TensorFlow network reconstructs from the train half and from the unseen test half.",
    settings=network_settings(lambda design: cnn_settings(design.pinn)),
    versions=("3", "2"),
    checks=("config_001",),
    group="legacy",
    tool="tensorflow",
    engine="fly64_assets.pinn.cnn.keras.job",
    job="legacy_cell",
    on_request=True,
)
_ITERATIVE: Final = (
    *_iterative(
        "lsqml",
        "The object that the iterative LSQML solver of pty-chi finds in the view's {split} frames, with the known "
        "probe, starting from a uniform object. It uses all frames and never sees the truth.",
        section="lsqml",
        code_version="4",
        group="lsqml",
        engine="fly64_assets.lsqml.job",
    ),
    *_iterative(
        "tv_ml",
        "The object of regularised maximum likelihood in the view's {split} frames, with the known probe, from a "
        "uniform object: the Poisson likelihood with total variation, minimised, its weight chosen by "
        "held-out counts, then slow phases where the counts show them. It uses no network and never sees the truth.",
        section="tv_ml",
        settings=tv_ml_settings,
        code_version="2",
        group="tv_ml",
        engine="fly64_assets.tv_ml.job",
    ),
    *_iterative(
        "pretrained",
        "The object that a network reconstructs from the view's {split} frames in five passes, with the known probe, "
        "then, if the design says so, slow phases. It was trained once, on simulated scans of other objects, and is "
        "not trained on these frames; what of the scan lies outside of that training is said. It never sees the truth.",
        section="pretrained",
        settings=pretrained_settings,
        group="pretrained",
        engine="fly64_assets.pinn.pretrained.job",
    ),
    *_iterative(
        "lsqml_from_pinn",
        "The same solver on the same {split} frames, started from the network's object of this half instead of a "
        "uniform one: a method of its own, built on request. It never sees the truth.",
        section="lsqml",
        needs=("pinn_reconstruction",),
        code_version="4",
        group="lsqml",
        engine="fly64_assets.lsqml.job",
        job="lsqml_from_pinn_cell",
        on_request=True,
    ),
)
"""The methods without training, in the order in which tables and pictures show them."""
_METHODS: Final = (_PINN[0], _LEGACY_PINN[0], _PINN[1], _LEGACY_PINN[1], *_ITERATIVE)

STAGES: Final[Mapping[str, Stage]] = {
    stage.asset: stage
    for stage in (
        Stage(
            "base_dataset",
            "base",
            "The object, the probe and the scan positions from which the whole study is simulated. Made from the "
            "design's recipe (pictures for amplitude and phase), or imported from a file: one that the run config "
            "names, one put into the watched folder, or with `fly64 base import FILE`. An imported base stays the "
            "active one until another is chosen.",
            of_measured="Measured frames with their mask and positions, and what their calibration found: the probe, a "
            "reference object from all counts, by option the positions, and how good they are. Imported with `fly64 "
            "base import FRAMES`, or from a file that the run config or the design names. It stays the active base "
            "until another is chosen.",
            settings=base_settings,
            job="ingest",
        ),
        Stage(
            "simulated_dataset",
            "simulated",
            "Noisy diffraction frames at one dose (photons per frame), split into a train and a test half. Every frame "
            "is the squared Fourier amplitude of probe times object window, scaled so that the mean frame holds the "
            "dose, with seeded Poisson noise. All doses share the same positions.",
            of_measured="Frames at one dose (photons per frame), thinned from measured frames, split into a train and "
            "a test half. Every measured photon is kept with the same probability, by a seeded choice: the counts are "
            "Poisson counts at the lower dose, and the photons that are left are an independent measurement, by which "
            "reconstructions are judged. A dose that was not measured is skipped.",
            needs=("base_dataset",),
            settings=simulated_settings,
            job="simulate",
            checks=("physics",),
        ),
        Stage(
            "overlap_view",
            "view",
            "The frames that one overlap view keeps of each half, and the measured overlap of the probe's discs. "
            "`baseline` keeps every frame; a spaced view keeps positions at least (1 - f) N apart. A view with too few "
            "positions is recorded as skipped, with the measured number; its threshold is never lowered.",
            needs=("simulated_dataset",),
            settings=view_settings,
            code_version="2",
            checks=("oversampling_001",),
        ),
        *_METHODS,
        Stage(
            "comparison",
            "comparison",
            "Every method against the truth on one evaluation region, beside a uniform object as the baseline. Methods "
            "that are missing, failed or skipped are named with their reason; the others are compared.",
            of_measured="Every method by counts that no method has seen: those taken away of the same frames, and "
            "frames that the view left out, beside a uniform object as the baseline and the reference object of the "
            "calibration. Resolution is that of reconstructions from halves of the photons and of the frames. Methods "
            "that are missing, failed or skipped are named with their reason; the others are compared.",
            group="report",
            needs=("overlap_view", *(stage.asset for stage in _METHODS if stage.kind != "training")),
            reads_base=True,
            settings=_comparison_settings,
            code_version="3",
        ),
        Stage(
            "study_report",
            "report",
            "The answer of the study: one self-contained page over all cells (of more than twelve, a page for each "
            "besides), the same as Markdown, and the manifests. Cells that failed, were skipped or are out of date are "
            "shown as such, with their reason.",
            group="report",
            tool="html",
            needs=("comparison",),
            settings=lambda design, _key: {"name": design.name, "report": plain(design.report)},
            code_version="4",
            job="report",
        ),
    )
}
"""Every asset of the study by name, each after those that it needs."""

ON_REQUEST: Final = tuple(dict.fromkeys(stage.method for stage in STAGES.values() if stage.on_request))
"""Methods that belong to a study only where they were requested or have run already."""

BACKENDS: Final = {"pytorch": "pinn", "tensorflow": "legacy_pinn"}
"""Method by the library in which its network is written."""

JOBS: Final[Mapping[str, str]] = {
    "ingest": "Make or import the base.",
    "simulate": "Simulate the frames of a dose.",
    "cell": "Views, every default method and the comparison of a cell.",
    "legacy_cell": "The TensorFlow network of a cell, and the comparison with it.",
    "lsqml_from_pinn_cell": "LSQML started from the network's object of a cell, and the comparison with it.",
    "report": "Write the report over all cells.",
}


def job_assets(job: str) -> tuple[str, ...]:
    """Assets that a named job materialises: those of its own, and what compares them."""
    own = tuple(stage.asset for stage in STAGES.values() if stage.job == job)
    return own if "comparison" in own or not any(STAGES[asset].method for asset in own) else (*own, "comparison")
