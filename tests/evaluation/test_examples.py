"""The examples in the docstrings of the evaluation run and give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from fly64_assets import evaluation

MODULES = [module.name for module in pkgutil.walk_packages(evaluation.__path__, "fly64_assets.evaluation.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
