"""``fly64 advise`` prints what the Python function returns, and ends with 2 for a question that makes no sense."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from fixtures.atlas import made_up

import fly64_assets as fly64
from fly64_assets.cli.main import main
from fly64_assets.evaluation.advice.known import ObjectNumbers
from fly64_assets.evaluation.atlas.packaged import atlas_rows
from fly64_assets.simulation.objects.making import make_object, make_probe


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("atlas") / "scores.csv"
    path.write_text(made_up(noise=0.05, floor=-4.0))
    return path


def run(*words):
    return CliRunner().invoke(main, ["advise", *map(str, words)])


def test_the_document_is_that_of_the_function(table):
    words = ("--total-photons", 1e7, "--object", "cells", "--field", 160, 200, "--pixel-size-nm", 8, "--table", table)
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    advice = fly64.advise((160, 200), total_photons=1e7, obj="cells", pixel_size_nm=8, table=table)
    assert document == json.loads(json.dumps(advice.to_dict()))
    assert document["best"]["step_m"] == pytest.approx(document["best"]["step_px"] * 8e-9)
    assert run(*words).output == f"{advice}\n"


def test_files_stand_for_probe_and_object(table, tmp_path):
    obj, probe = make_object("foam", 160, seed=1), make_probe("structured", 64, 0.25, 0.04, seed=1)
    file = tmp_path / "mine.npz"
    # Outside of the scanned part the object is wild: that does not count.
    wide = np.exp(1j * np.random.default_rng(1).uniform(-3, 3, (300, 300)))
    wide[40:200, 60:220] = obj
    x, y = np.meshgrid([60.0, 140.0, 219.0], [40.0, 120.0, 199.0])
    np.savez(file, objectGuess=wide, probeGuess=probe[None], xcoords=x.ravel(), ycoords=y.ravel())
    done = run(
        "--phase-error", 0.05, "--object", file, "--probe", file, "--field", 160, 160, "--table", table, "--json"
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    same = fly64.advise((160, 160), phase_error_rad=0.05, obj=obj, probe=probe, table=table)
    assert document["best"] == json.loads(json.dumps(same.to_dict()))["best"]
    assert document["specimen"]["name"] == "as in mine.npz"
    assert document["illumination"]["name"] == "of mine.npz"
    np.savez(tmp_path / "result.npz", reconstructed_object=obj)
    again = fly64.advise((160, 160), phase_error_rad=0.05, obj=tmp_path / "result.npz", probe=file, table=table)
    assert again.best == same.best


def test_numbers_stand_for_an_object(table):
    words = ("--phase-range", 1, "--bandwidth", 0.1, "--sparsity", 0.4)
    done = run("--photons-per-pixel", 100, *words, "--field", 160, 160, "--table", table)
    given = ObjectNumbers(1.0, 0.1, 0.4)
    assert done.output == f"{fly64.advise((160, 160), photons_per_pixel=100, obj=given, table=table)}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--field", "160", "160", "--object", "cells"], "expected exactly one of --photons-per-pixel"),
        (
            ["--photons-per-pixel", "9", "--phase-error", "0.1", "--field", "160", "160", "--object", "cells"],
            "expected exactly one of",
        ),
        (["--photons-per-pixel", "9", "--field", "160", "160"], "nothing is known of the object"),
        (
            ["--photons-per-pixel", "9", "--field", "160", "160", "--bandwidth", "0.1"],
            "give --object, or --phase-range",
        ),
        (
            ["--photons-per-pixel", "9", "--field", "160", "160", "--object", "cells", "--phase-range", "1"],
            "exclude each other",
        ),
        (["--photons-per-pixel", "-9", "--field", "160", "160", "--object", "cells"], "not in the range"),
        (["--photons-per-pixel", "9", "--object", "cells"], "Missing option '--field'"),
        (["--photons-per-nm2", "9", "--field", "160", "160", "--object", "cells"], "needs the pixel size"),
        (["--resolution", "1", "--field", "160", "160", "--object", "cells"], "no pixel grid resolves less than 2 px"),
    ],
)
def test_a_question_without_sense_is_a_usage_error(words, says, table):
    done = run(*words, "--table", table)
    assert done.exit_code == 2
    assert says in " ".join(done.output.split())


def test_files_that_do_not_fit_are_named(table, tmp_path):
    np.savez(tmp_path / "other.npz", something=np.ones(3))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    asked = ("--photons-per-pixel", 9, "--field", 160, 160)
    for words, says in (
        (("--object", tmp_path / "other.npz"), "other.npz holds no complex objectGuess or reconstructed_object"),
        (("--object", "cells", "--probe", tmp_path / "other.npz"), "other.npz holds no probeGuess of shape (N, N)"),
        (("--object", "cells", "--probe", tmp_path / "no.npz"), "no.npz"),
        (("--object", "cells", "--table", tmp_path / "other.csv"), "the table lacks the columns"),
        (("--object", "cells", "--table", tmp_path / "no.csv"), "cannot be read as the table of a campaign"),
    ):
        done = run(*asked, "--table", table, *words)
        assert done.exit_code == 1
        assert says in " ".join(done.output.split())


def test_no_engine_is_loaded_and_no_dagster(table):
    """In a process of its own, since the tests have loaded all of them."""
    script = (
        "import sys, pathlib, fly64_assets;"
        f"fly64_assets.advise((160, 160), photons_per_pixel=100, obj='cells', table=pathlib.Path({str(table)!r}));"
        "print(sorted({'torch', 'dagster', 'ptychi', 'tensorflow', 'lightning', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_packaged_atlas_is_of_kinds_that_no_setting_was_chosen_on():
    rows = atlas_rows()
    assert len({row.kind for row in rows}) >= 4
    assert not any(row.tunable for row in rows)


def test_a_scan_outside_of_the_training_of_the_pretrained_network_is_named():
    words = ("--photons-per-pixel", 3000, "--object", "cells", "--field", 1600, 1600, "--probe-diameter-px", 100)
    assert "photons per frame; `general` was trained for 2e+02 to 1e+06" in run(*words, "--method", "pretrained").output
    assert "`general` was trained" not in run(*words, "--method", "tv_ml").output
