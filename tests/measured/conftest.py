from __future__ import annotations

from fixtures.measured import masked_file, measured_file  # noqa: F401
