"""TensorFlow as this project runs it: quiet, on a fixed number of threads, deterministic.

Every module that imports tensorflow or keras imports this one first. Imported by engine processes only.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError

PRECISION: Final = "32-true"


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Keep what TensorFlow's C++ parts print while they load; show it only if loading fails."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(kept, file.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with _quiet_start():
    try:
        import tensorflow as tf
    except ImportError as error:
        raise EngineError(
            f"tensorflow cannot be imported ({error}): the legacy network needs tensorflow >= 2.18; install it with "
            "`pip install tensorflow`, or leave the backend at pytorch"
        ) from error


def configure(execution: Execution) -> str:
    """Set threads, device and determinism of this process, before its first computation; returns the device.

    Raises :class:`EngineError` for settings that this backend lacks, or when TensorFlow has computed with others.
    """
    if execution.devices != 1:
        raise EngineError(f"devices = {execution.devices}: the TensorFlow network trains on one device")
    if execution.precision != PRECISION:
        raise EngineError(f"precision = {execution.precision!r}: the TensorFlow network trains in {PRECISION} only")
    try:
        with _quiet_start():
            tf.config.threading.set_intra_op_parallelism_threads(execution.threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            if execution.accelerator == "cpu":
                tf.config.set_visible_devices([], "GPU")
            found = tf.config.get_visible_devices("GPU")
    except RuntimeError as error:
        raise EngineError(f"TensorFlow was used in this process before it was set up ({error})") from error
    if execution.deterministic:
        tf.config.experimental.enable_op_determinism()
    return "cuda" if found else "cpu"
