"""The mask and the trained network that a design names, judged with the design and not when a stage needs them."""

from __future__ import annotations

from pathlib import Path

from fly64_assets.contract.mask_files import read_mask
from fly64_assets.errors import ContractError
from fly64_assets.pinn.pretrained.settings import GENERAL, PretrainedSettings
from fly64_assets.simulation.recipe import DetectorSettings
from fly64_assets.study.documents import shown


def mask_problems(settings: DetectorSettings, folder: Path, size: int | None) -> list[str]:
    """What is wrong with a mask file: it is not there, is no mask, does not fit the frames, or is inverted.

    ``folder`` is that of the design; ``size`` is N, the side of a frame [px], None where it is not known.
    """
    if not settings.mask:
        return []
    path, field = folder / settings.mask, f"detector.mask = {shown(settings.mask)}"
    if not path.is_file():
        return [f"{field}: there is no file {path}"]
    from fly64_assets.simulation.detector import make_detector

    try:
        mask = read_mask(path)
        if size is not None:
            make_detector(settings, size, mask)
    except ContractError as problem:
        return [f"{field}: {str(problem).removeprefix('detector.mask: ').removeprefix('detector: ')}"]
    return []


def network_problems(settings: PretrainedSettings, folder: Path) -> list[str]:
    """What is wrong with the file of the trained network: it is not there. ``folder`` is that of the design."""
    path = settings.file(folder)
    if path.is_file():
        return []
    return [f"pretrained.network = {shown(settings.network)}: there is no file {path}; `{GENERAL}` is in the package"]
