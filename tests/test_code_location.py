"""The code location as processes load it: quick, and without engines."""

import subprocess
import sys

LOAD = """
import re, sys
from pathlib import Path
import fly64_assets.definitions
# The peak of this program alone: rusage would start from the process that forked it.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
# scipy loads its parts when they are first used.
heavy = {"torch", "tensorflow", "ptychi", "lightning", "keras", "torchvision", "matplotlib", "skimage"}
heavy |= {"scipy.signal", "scipy.stats", "scipy.spatial", "scipy.interpolate"}
print(sorted(heavy & set(sys.modules)), peak)
"""


def test_loading_imports_no_engine_and_stays_small():
    answer = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    modules, kilobytes = answer.stdout.strip().rsplit(" ", 1)
    assert modules == "[]"
    assert int(kilobytes) < 300 * 1024
    assert answer.stderr == ""


def test_the_command_line_loads_neither_dagster_nor_engines():
    code = "import sys, fly64_assets.cli.main; print({'dagster', 'torch', 'matplotlib'} & set(sys.modules) or '')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
