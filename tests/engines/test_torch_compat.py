from __future__ import annotations

import sys
import types

import pytest

from fly64_assets.engines.torch_compat import declare_torchvision_operators
from fly64_assets.errors import EngineError


def test_torchvision_can_be_imported_after_the_declaration():
    import torch
    import torchvision

    assert hasattr(torch.ops.torchvision, "nms")
    assert torchvision.__version__
    assert declare_torchvision_operators() == ()


def test_missing_torch_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match="POLICY-001"):
        declare_torchvision_operators()


def test_old_torch_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(__version__="2.1.0+cpu"))
    with pytest.raises(EngineError, match=r"2\.1\.0\+cpu is too old"):
        declare_torchvision_operators()
