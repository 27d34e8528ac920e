"""What the job of an iterative method must have written before its results are stored."""

import numpy as np
import pytest

from fly64_assets.assets.iterative import checked_results
from fly64_assets.errors import EngineError

ENGINE = "fly64_assets.tv_ml.job"


def test_an_incomplete_result_is_refused_with_one_sentence(tmp_path):
    with pytest.raises(EngineError, match=r"without writing ptychi_reconstruction\.npz"):
        checked_results(tmp_path, ENGINE)
    result = tmp_path / "ptychi_reconstruction.npz"
    np.savez(result, reconstructed_object=np.ones((3, 4), np.complex64))
    with pytest.raises(EngineError, match=r"without writing reconstruction\.png"):
        checked_results(tmp_path, ENGINE)
    (tmp_path / "reconstruction.png").write_bytes(b"")
    with pytest.raises(EngineError, match="lacks loss; found reconstructed_object; see `reconstruction_request`"):
        checked_results(tmp_path, ENGINE)
    np.savez(result, reconstructed_object=np.ones((3, 4), np.complex64), loss=np.ones(2))
    checked_results(tmp_path, ENGINE)
