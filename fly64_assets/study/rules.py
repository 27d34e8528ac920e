"""The rules of a study design, each broken one as ``field = value: rule``.

Belongs here: judgement of values. Does not belong here: types and unknown fields (``design``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from fly64_assets.lsqml.settings import ENGINES
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.pinn.settings import NETWORK_PATCH_SIZES
from fly64_assets.simulation.recipe import PICTURES, BaseRecipe

if TYPE_CHECKING:
    from fly64_assets.study.design import StudyDesign

REQUIRED_SEEDS: Final = ("simulation", "grouping", "subsampling")
NAME_PATTERN: Final = re.compile(r"[a-z0-9_]+")

Rule = tuple[str, Callable[[Any], bool], str]


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _at_least_one(value: int) -> bool:
    return value >= 1


def _falling(values: tuple[float, ...]) -> bool:
    return bool(values) and all(map(_positive, values)) and list(values) == sorted(set(values), reverse=True)


def _inside_unit(value: float) -> bool:
    return 0 < value < 1


def _seed(value: int) -> bool:
    return 0 <= value < 2**32


def _one_of(*allowed: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in allowed), f"must be one of {', '.join(allowed)}"


RULES: Final[tuple[Rule, ...]] = (
    ("name", lambda value: bool(NAME_PATTERN.fullmatch(value)), "must match [a-z0-9_]+"),
    ("patch_size_pixels", lambda value: value in NETWORK_PATCH_SIZES, "must be one of 64, 128, 256"),
    ("train_test_split_axis", *_one_of("x", "y")),
    ("scan", *_one_of("uniform", "base")),
    ("min_view_frames", _at_least_one, "must be at least 1"),
    ("repeats", _at_least_one, "must be at least 1"),
    ("seeds", lambda values: len(set(values)) == len(values), "must be distinct"),
    ("seeds", lambda values: all(1 <= seed < 2**32 for seed in values), "must be in [1, 2**32)"),
    ("metrics_config.frc_threshold", _inside_unit, "must be in (0, 1)"),
    ("metrics_config.ms_ssim_sigma", _positive, "must be positive"),
    ("evaluation.coverage_threshold", _positive, "must be positive"),
    ("evaluation.max_shift_px", lambda value: 0 <= value <= 10, "must be in [0, 10]"),
    ("pinn.architecture", *_one_of("cnn", "unrolled")),
    ("pinn.batch_size", lambda value: value >= 1 and not value & (value - 1), "must be a power of two"),
    ("pinn.epochs", _at_least_one, "must be at least 1"),
    ("pinn.samples_per_position", _at_least_one, "must be at least 1"),
    ("pinn.n_filters_scale", _at_least_one, "must be at least 1"),
    ("pinn.width", _at_least_one, "must be at least 1"),
    ("pinn.levels", _falling, "must fall and be positive, at least one"),
    ("pinn.level_iterations", _at_least_one, "must be at least 1"),
    ("pinn.photon_parts", lambda value: value >= 3, "must be at least 3: to see, to predict and to validate"),
    ("pinn.folds", _at_least_one, "must be at least 1"),
    ("pinn.steps_per_epoch", _at_least_one, "must be at least 1"),
    ("pinn.tile", lambda value: value >= 8 and value % 8 == 0, "must be a multiple of 8"),
    ("pinn.tile_frames", _at_least_one, "must be at least 1"),
    ("pinn.patience", _at_least_one, "must be at least 1"),
    ("pinn.learning_rate", _positive, "must be positive"),
    ("pinn.amplitude_max", _positive, "must be positive"),
    ("pinn.gradient_clip", _positive, "must be positive"),
    ("pinn.target_fraction", lambda value: 0 <= value < 1, "must be in [0, 1)"),
    ("pinn.validation_fraction", _inside_unit, "must be in (0, 1)"),
    ("pinn.thinning_fraction", _inside_unit, "must be in (0, 1)"),
    ("lsqml.engine", *_one_of(*ENGINES)),
    ("lsqml.stopping", *_one_of("held_out", "discrepancy", "epochs")),
    ("lsqml.probe", *_one_of("fixed", "refined")),
    ("lsqml.windows", *_one_of("bilinear", "fourier")),
    ("lsqml.batching", *_one_of("compact", "random", "uniform")),
    ("lsqml.noise_model", *_one_of("gaussian", "poisson")),
    ("lsqml.epochs", lambda value: 1 <= value <= 100, "must be in 1 ... 100"),
    ("lsqml.gaussian_epochs", lambda value: value >= 0, "must not be negative"),
    ("lsqml.batch_size", _at_least_one, "must be at least 1"),
    ("lsqml.momentum", lambda value: 0 <= value <= 10, "must be in [0, 10]"),
    ("lsqml.total_variation", lambda value: 0 <= value <= 1, "must be in [0, 1]"),
)
RECIPE_RULES: Final[tuple[Rule, ...]] = (
    ("amplitude", *_one_of(*PICTURES)),
    ("phase", *_one_of(*PICTURES)),
    ("positions", lambda value: value >= 4, "must be at least 4"),
    ("amplitude_range", lambda value: 0 <= value[0] < value[1] < math.inf, "must be 0 <= low < high"),
    ("phase_range", lambda value: -math.inf < value[0] < value[1] < math.inf, "must be low < high, in rad"),
    ("probe_radius", lambda value: 0 < value < 0.5, "must be in (0, 0.5), a fraction of N"),
    ("probe_edge", lambda value: 0 < value < 0.5, "must be in (0, 0.5), a fraction of N"),
    ("probe_curvature", math.isfinite, "must be finite, in rad"),
    ("pattern", *_one_of("uniform", "raster")),
    ("seed", _seed, "must be in [0, 2**32)"),
)


def broken_rules(design: StudyDesign) -> Iterator[str]:
    """Every broken rule of a design."""
    yield from _broken(RULES, design, "")
    yield from _dose_rules(design)
    yield from _geometry_rules(design)
    yield from _view_rules(design)
    yield from _seed_rules(design)
    if design.pinn.folds >= design.pinn.photon_parts:
        yield (
            f"pinn.folds = {design.pinn.folds}: must be less than photon_parts = {design.pinn.photon_parts}, "
            "one of which is for validation"
        )
    if isinstance(design.base, BaseRecipe):
        yield from _broken(RECIPE_RULES, design.base, "base.")
        least = design.patch_size_pixels + 2
        if design.base.object_size < least:
            yield f"base.object_size = {design.base.object_size}: must be at least N + 2 = {least}"
    elif not design.base:
        yield "base = '': must be a path or a recipe"


def _broken(rules: tuple[Rule, ...], subject: object, prefix: str) -> Iterator[str]:
    for name, holds, rule in rules:
        value = attrgetter(name)(subject)
        if not holds(value):
            shown = list(value) if isinstance(value, tuple) else value
            yield f"{prefix}{name} = {shown!r}: {rule}"


def _seed_rules(d: StudyDesign) -> Iterator[str]:
    missing = [seed for seed in REQUIRED_SEEDS if seed not in d.rng_seeds]
    if missing:
        yield f"rng_seeds = {dict(d.rng_seeds)}: missing {', '.join(missing)} (all of {', '.join(REQUIRED_SEEDS)})"
    if d.seeds and d.repeats != len(d.seeds):
        yield f"repeats = {d.repeats}: give repeats or seeds, not both (seeds names {len(d.seeds)})"
    for seed, value in d.rng_seeds.items():
        if seed not in REQUIRED_SEEDS:
            yield f"rng_seeds.{seed} = {value}: unknown seed (known: {', '.join(REQUIRED_SEEDS)})"
        elif not _seed(value):
            yield f"rng_seeds.{seed} = {value}: must be in [0, 2**32)"


def _dose_rules(d: StudyDesign) -> Iterator[str]:
    if not d.dose_list:
        yield "dose_list = []: must not be empty"
    bad = [dose for dose in d.dose_list if not (_positive(dose) and dose >= 1)]
    if bad:
        yield f"dose_list = {list(d.dose_list)}: every dose must be finite and at least 1 photon ({bad} are not)"
    else:
        keys = [int(dose) for dose in d.dose_list]
        if len(set(keys)) != len(keys):
            yield f"dose_list = {list(d.dose_list)}: doses must differ after int() ({keys})"


def _geometry_rules(d: StudyDesign) -> Iterator[str]:
    if not d.gridsizes or any(g not in (1, 2) for g in d.gridsizes):
        yield f"gridsizes = {list(d.gridsizes)}: must be a non-empty list of 1 and 2"
    elif d.neighbor_count < max(d.gridsizes) ** 2 and max(d.gridsizes) > 1:
        yield (
            f"neighbor_count = {d.neighbor_count}: must be at least max(gridsizes)^2 = {max(d.gridsizes) ** 2} "
            "(OVERSAMPLING-001)"
        )


def _view_rules(d: StudyDesign) -> Iterator[str]:
    for view, fraction in d.overlap_views.items():
        if not NAME_PATTERN.fullmatch(view):
            yield f"overlap_views.{view}: a view's name must match [a-z0-9_]+"
        if view == BASELINE:
            yield "overlap_views.baseline: the name is reserved for the view that keeps every position"
        if not 0 <= fraction < 1:
            yield f"overlap_views.{view} = {fraction}: must be in [0, 1) so that the spacing (1 - f) N is positive"
