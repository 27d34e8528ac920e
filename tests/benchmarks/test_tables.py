"""The tables of README and documentation are those of the result files."""

import math
import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(BENCHMARKS))  # as for a script that is run
    TABLES = runpy.run_path(str(BENCHMARKS / "tables.py"))
DENSE = ("demo", "dense", 1000)


def row(method, seed, value, cell=DENSE):
    return dict(zip(("object", "view", "dose"), map(str, cell), strict=True)) | {
        "method": method, "seed": str(seed), "phase_rmse": str(value),
    }  # fmt: skip


def contest(*rows):
    return TABLES["Contest"](rows)


@pytest.mark.parametrize("path", TABLES["DOCUMENTS"], ids=lambda path: path.name)
def test_documents_have_the_tables_of_the_result_files(path):
    text = path.read_text(encoding="utf-8")
    measured = TABLES["Contest"](TABLES["rows_of"]("contest.csv"))
    assert text == TABLES["regenerated"](text, measured), "run python benchmarks/tables.py"


def test_every_marker_is_of_a_known_table():
    for path in TABLES["DOCUMENTS"]:
        text = path.read_text(encoding="utf-8")
        assert text.count("<!-- table ") == text.count("<!-- end -->") == len(TABLES["MARKED"].findall(text)), path.name


def test_a_changed_number_is_written_anew():
    measured = contest(row("lsqml", 1, 0.2), row("pinn", 1, 0.1))
    text = "before\n<!-- table demo -->\nold\n<!-- end -->\nafter\n"
    once = TABLES["regenerated"](text, measured)
    assert "| 1,000 | dense | 0.2000 | – | – | 0.1000 | 0.50 | – |" in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert TABLES["regenerated"](once.replace("0.1000", "0.0900"), measured) == once


@pytest.mark.parametrize("name", TABLES["TABLES"])
def test_what_is_not_measured_is_a_dash(name):
    made = TABLES["TABLES"][name](contest())
    widths = {line.count("|") for line in made.splitlines()}
    assert len(widths) == (name != "findings")
    assert "nan" not in made


def test_the_network_is_divided_by_the_method_with_the_smallest_mean_seed_by_seed():
    measured = contest(
        row("lsqml", 1, 0.1), row("lsqml", 2, 0.5), row("tv_ml", 1, 0.2), row("tv_ml", 2, 0.3),
        row("pinn", 1, 0.1), row("pinn", 2, 0.3), row("pinn", 3, 9.0),
    )  # fmt: skip
    assert measured.ratio(DENSE) == {1: 0.5, 2: 1.0}


def test_of_several_rows_the_last_counts():
    assert contest(row("pinn", 1, 0.3), row("pinn", 1, 0.2)).values(DENSE, "pinn") == {1: 0.2}


def test_a_geometric_mean_takes_the_seeds_that_every_cell_has():
    other = ("slow", "dense", 1000)
    measured = contest(
        row("lsqml", 1, 1), row("pinn", 1, 0.5), row("lsqml", 1, 1, other), row("pinn", 1, 0.72, other),
        row("lsqml", 2, 1), row("pinn", 2, 0.5),
    )  # fmt: skip
    assert measured.geometric_mean([DENSE, other]) == {1: pytest.approx(0.6)}
    assert math.isclose(measured.geometric_mean([DENSE])[2], 0.5)


@pytest.mark.parametrize(
    ("ratio", "result"),
    [
        ({1: 0.94}, "ahead"), ({1: 0.96}, "tie"), ({1: 1.04}, "tie"), ({1: 1.06}, "behind"),
        ({1: 0.97, 2: 0.98, 3: 0.975}, "ahead"), ({1: 1.1, 2: 1.12, 3: 1.11}, "behind"),
        ({1: 0.8, 2: 1.1, 3: 0.95}, "tie"),
    ],
)  # fmt: skip
def test_a_tie_is_a_tie(ratio, result):
    assert TABLES["result_of"](ratio) == result


def test_findings_are_sentences_on_the_cells_that_were_measured():
    other = ("slow", "dense", 1000)
    measured = contest(
        row("lsqml", 1, 0.3), row("tv_ml", 1, 0.2), row("pinn", 1, 0.1), row("lsqml", 1, 0.1, other),
        row("pinn", 1, 0.2, other),
    )  # fmt: skip
    assert TABLES["TABLES"]["findings"](measured).splitlines() == [
        "- At 1,000 photons per frame the network's error is 1.000 of the best iterative method's (geometric mean over "
        "2 cells; 0.50 to 2.00). It is smaller in 1 of them, larger in 1, not distinguishable in 0.",
        "- The best iterative method of the 2 cells is `lsqml` in 1, `tv_ml` in 1. Each has 1 seed.",
    ]


def test_mean_and_standard_deviation():
    assert TABLES["shown"]({1: 0.1, 2: 0.2, 3: 0.3}, 2) == "0.20 ± 0.10"
    assert TABLES["shown"]({1: 0.1}, 2) == "0.10"


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((0.4, 0.2, 0.05), ("", 10**4.5)),  # half a decade: the error falls by two of four times
        ((0.4, 0.2, 0.1), ("", 1e5)),
        ((0.09, 0.05, 0.01), ("<", 1e3)),
        ((0.4, 0.3, 0.2), (">", 1e5)),
        ((0.2, 0.3, 0.05), ("", 10 ** (4 + math.log(3) / math.log(6)))),  # worse with more photons before it is better
    ],
)
def test_photons_for_an_error_are_between_the_doses_where_it_is_crossed(errors, expected):
    sign, photons = TABLES["photons_for"](dict(zip(TABLES["DOSES"], errors, strict=True)), 0.1)
    assert (sign, pytest.approx(photons)) == expected


def test_a_method_that_needs_more_photons_has_a_larger_factor():
    rows = [
        row("pinn", 1, error, ("demo", "dense", dose)) for dose, error in ((1000, 0.2), (10_000, 0.1), (100_000, 0.05))
    ]
    rows += [
        row("lsqml", 1, error, ("demo", "dense", dose)) for dose, error in ((1000, 0.4), (10_000, 0.2), (100_000, 0.1))
    ]
    line = TABLES["saved"](contest(*rows)).splitlines()[3]
    assert line == "| demo | dense | 0.100 | 10 … 10 | – |"
