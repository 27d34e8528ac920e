"""Headline ratios of the benchmarks, with margins that a busy machine does not use up: processor time, no seconds."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MARGINS = {
    # Largest ratio of ours to the floor or peer; the documented ones are two to five times smaller.
    "simulation: against FFT and Poisson": 4.0,
    "simulation: against pty-chi": 2.0,
    "view of 70 % overlap": 20.0,
    "overlap metrics": 20.0,
    "SHA256 of files": 3.0,
    "LSQML batches": 10.0,
    "LSQML batches: against pty-chi": 0.2,
}

LEAST = {
    # Smallest ratio of the floor to ours.
    "simulation.py": {"simulate_vs_floor": 0.25, "simulate_and_write_vs_floor": 0.1},
    "contract.py": {"contract check": 0.1},
}
SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.fixture
def entries(benchmark, tmp_path):
    """The cheapest size of each series that still shows its ratio."""
    growth = benchmark("growth")
    plan = {
        "simulation: against FFT and Poisson": (1000, growth.simulation),
        "simulation: against pty-chi": (1000, growth.simulation_by_library),
        "view of 70 % overlap": (100_000, growth.view),
        "overlap metrics": (100_000, growth.overlap),
        "SHA256 of files": (20_000, growth.hashing(tmp_path)),
        "LSQML batches": (100_000, growth.batches),
        "LSQML batches: against pty-chi": (1000, growth.batches_and_library),
    }
    return [one for name, (size, pair) in plan.items() for one in growth.series(name, [size], "peer", pair, 2)]


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # by pty-chi
def test_ratios_are_within_their_margins_and_on_the_page(entries, benchmark, tmp_path):
    ratios = {one["name"]: one["ratio"] for one in entries}
    assert ratios.keys() == MARGINS.keys()
    assert {name: ratio for name, ratio in ratios.items() if ratio > MARGINS[name]} == {}

    bench = benchmark("bench")
    (tmp_path / "growth.json").write_text(json.dumps(entries))
    grown = [one | {"size": one["size"] * 10} for one in entries]
    text = bench.page({bench.SUBJECTS[0]: [*entries, *grown]}, tmp_path, ".")
    assert all(f"| {name} | " in text for name in MARGINS)
    for name in bench.DRAWN:
        assert f"]({'.'}/{name}.svg)" in text
        assert (tmp_path / f"{name}.svg").read_text().lstrip().startswith("<?xml")


def test_growth_of_a_series_is_the_slope_of_its_seconds(benchmark, monkeypatch):
    growth = benchmark("growth")
    monkeypatch.setattr(growth, "in_turn", lambda ours, peer, rounds: (ours(), peer()))
    pair = lambda size: (lambda: 1e-6 * size**1.5, lambda: 1e-6 * size)  # noqa: E731
    first, second = growth.series("x", [100, 1000], "y", pair, 1)
    assert first["exponent"] is None
    assert second["exponent"] == pytest.approx(1.5)
    assert second["ratio"] == pytest.approx(1000**0.5)
    assert second["value"] == pytest.approx(1000**0.5)


def printed(benchmark, script, *arguments):
    """Entries of a script that is run with one thread."""
    command = [sys.executable, SCRIPTS / script, "--json", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return benchmark("bench").entries_of(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("script", LEAST)
def test_ratios_of_floors_to_ours_are_not_below_their_margins(benchmark, script):
    ratios = {one["name"]: one["ratio"] for one in printed(benchmark, script, "--quick")}
    assert ratios.keys() >= LEAST[script].keys()
    assert {name: ratios[name] for name, least in LEAST[script].items() if ratios[name] < least} == {}


@pytest.mark.slow
def test_a_million_positions_take_less_than_a_gibibyte(benchmark):
    *_, last = printed(benchmark, "memory.py", "--frames", "100", "--stages", "imports", "--positions", "1000000")
    assert last["name"] == "peak memory: positions"
    assert last["frames"] == 1_000_000
    assert last["ratio"] < 1
