"""Make ``lightning``, ``torchmetrics`` and ``ptychi`` importable beside a CPU-only torch.

Every engine imports this module first. The published torchvision registers shape functions for two of its compiled
operators while it is imported; with a torch of another build the compiled part does not load, the operators do not
exist, and the import fails. Nothing in this project calls them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from fly64_assets.errors import EngineError

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

_kept: list[Any] = []
"""Operator declarations live as long as their library object."""


def declare_torchvision_operators() -> tuple[str, ...]:
    """Declare ``torchvision::nms`` and ``torchvision::qnms`` where ``import torchvision`` would fail without them.

    Nothing happens without torchvision, where its compiled operators load, or on a second call. Returns the names
    declared by this call. Raises :class:`EngineError` if torch is missing, broken or too old (POLICY-001).
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise EngineError(
            f"torch cannot be imported ({error}): every engine needs torch >= 2.2; install it with `pip install torch` "
            "(POLICY-001)"
        ) from error
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < (2, 2):
        raise EngineError(f"torch {torch.__version__} is too old: every engine needs torch >= 2.2 (POLICY-001)")
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _compiled_operators_load(Path(spec.origin).parent):
        return ()
    missing = tuple(name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name))
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in missing:
            library.define(_SCHEMAS[name])  # type: ignore[no-untyped-call]
        _kept.append(library)
    return missing


def _compiled_operators_load(folder: Path) -> bool:
    """Whether torchvision's compiled library in ``folder`` loads into this torch."""
    import torch

    libraries = [path for suffix in ("so", "pyd", "dylib") for path in folder.glob(f"_C*.{suffix}")]
    try:
        for path in libraries:
            torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except (ImportError, OSError):
        return False
    return bool(libraries)


declare_torchvision_operators()
