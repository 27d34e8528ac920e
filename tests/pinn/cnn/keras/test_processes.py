"""Which processes import TensorFlow: those that train or run it, and no other."""

import subprocess
import sys

import pytest

IMPORTS = {
    "the code location": "fly64_assets.definitions",
    "the command": "fly64_assets.cli.main, fly64_assets.cli.commands.run, fly64_assets.cli.driver.runs",
    "the bridge and the imports": (
        "fly64_assets.ptychopinn.session, fly64_assets.ptychopinn.training_config, "
        "fly64_assets.pinn.cnn.keras.weights, "
        "fly64_assets.ptychopinn.importing, fly64_assets.ptychopinn.data_sets, fly64_assets.cli.commands.ptychopinn"
    ),
    "the engines of the other arms": "fly64_assets.pinn.job, fly64_assets.lsqml.job",
}


@pytest.mark.parametrize("modules", IMPORTS.values(), ids=IMPORTS)
def test_tensorflow_stays_out(modules):
    code = f"import sys, {modules}; print({{'tensorflow', 'keras', 'jax'}} & set(sys.modules) or '')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
