from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from fly64_assets.tv_ml.settings import TvMlSettings


def test_settings_survive_json():
    settings = TvMlSettings(levels=(0.5, 0.1), steps=7)
    assert TvMlSettings.from_dict(json.loads(json.dumps(settings.parameters()))) == settings


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"levels": [0.1, 0.3]}, "must fall and be positive"),
        ({"levels": [0.3, 0.3]}, "must fall and be positive"),
        ({"levels": [0.3, -0.1]}, "must fall and be positive"),
        ({"levels": []}, "must fall and be positive"),
        ({"steps": 0}, "must be at least 1"),
        ({"count_splits": 1}, "must be at least 2"),
        ({"patience": 0}, "must be at least 1"),
        ({"epochs": 3}, "epochs"),
    ],
)
def test_a_setting_out_of_range_is_said(document, sentence):
    with pytest.raises(ValidationError, match=sentence):
        TypeAdapter(TvMlSettings).validate_python(document)
