from __future__ import annotations

import logging
from importlib import import_module

import pytest

import fly64_assets.engines.torch_compat  # noqa: F401
from fly64_assets.lsqml.overrides.installation import OVERRIDES, PINNED_VERSION, _find, faster_library


@pytest.fixture
def functions():
    """Reads what stands in the library's places now."""
    import_module("ptychi.api")
    return lambda: [getattr(_find(owner), name) for owner, name, _ in OVERRIDES]


def test_all_overrides_are_in_place_only_within_the_block(functions):
    stock = functions()
    with faster_library(True) as names:
        assert len(names) == len(OVERRIDES)
        assert all(now is not before for now, before in zip(functions(), stock, strict=True))
    assert functions() == stock
    with faster_library(False) as names:
        assert names == ()
        assert functions() == stock


def test_the_overrides_are_removed_after_an_error(functions):
    stock = functions()
    with pytest.raises(ZeroDivisionError), faster_library(True):
        _ = 1 / 0
    assert functions() == stock


@pytest.mark.parametrize("version", ["2.2.1", "2.20.0", "3.0.0"])
def test_another_version_of_the_library_keeps_its_own_and_the_log_says_so(functions, monkeypatch, caplog, version):
    stock = functions()
    monkeypatch.setattr("ptychi.__version__", version)
    with caplog.at_level(logging.WARNING), faster_library(True) as names:
        assert names == ()
        assert functions() == stock
    assert f"pty-chi {version} is not {PINNED_VERSION}" in caplog.text


def test_the_pin_is_the_installed_library():
    assert import_module("ptychi").__version__.split("+")[0] == PINNED_VERSION
