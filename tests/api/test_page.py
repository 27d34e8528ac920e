"""The page on the Python interface: its blocks run, and it lists every function."""

import re
from pathlib import Path

import numpy as np

import fly64_assets as fly64

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "python.md").read_text(encoding="utf-8")


def test_the_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert "lsqml" in capsys.readouterr().out
    scores = names["scores"].set_index(["method", "part", "metric"])["value"]
    assert scores["lsqml", "phase", "rmse"] < 0.5 * scores["flat", "phase", "rmse"]
    assert np.isfinite(names["found"].object).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.npz", "object.tif"]


def test_the_table_lists_every_function():
    listed = {name for cell in re.findall(r"^\| (`[^|]+) \|", PAGE, re.M) for name in re.findall(r"`(\w+)`", cell)}
    assert listed == set(fly64.__all__)
