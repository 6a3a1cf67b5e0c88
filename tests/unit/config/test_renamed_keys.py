"""golf/config/renamed_keys.py: old keys and values are reported with their new names"""

import pytest

from golf.config import renamed_keys
from tests.helpers.params_files import error_with, laptop_params, load_error, write_yaml


@pytest.mark.parametrize("old_key", sorted(renamed_keys.RENAMED_KEYS))
def test_an_old_key_is_reported_with_its_new_name(tmp_path, old_key):
    new_key = renamed_keys.RENAMED_KEYS[old_key]
    (section, old_name), (new_section, new_name) = old_key.split("."), new_key.split(".")
    assert section == new_section
    params = laptop_params()
    params[section][old_name] = params[section].pop(new_name)  # fails if the new key does not exist
    message = load_error(write_yaml(tmp_path / "params.yaml", params))
    assert message.startswith(f"{tmp_path / 'params.yaml'}: 1 problem\n  {old_key}: renamed to {new_key}\n")


def test_old_values_are_reported_with_their_new_names(tmp_path):
    changes = {"quantize.grid": "column", "compress.codec": "entropy", "evaluate.predictor": "golf.method:Method"}
    message = error_with(tmp_path / "params.yaml", **changes)
    for line in (
        "quantize.grid: the value column is now row_column",
        "compress.codec: the value entropy is now ans",
        "evaluate.predictor: the value golf.method:Method is now golf.inference.predictor:GolfPredictor",
    ):
        assert f"  {line}\n" in message
    assert "3 problems" in message


def test_an_old_key_with_an_old_value_is_reported_with_both_new_names(tmp_path):
    params = laptop_params()
    del params["evaluate"]["predictor"]
    params["evaluate"]["method"] = "golf.method:Method"
    message = load_error(write_yaml(tmp_path / "params.yaml", params))
    assert "1 problem\n" in message
    assert "renamed to evaluate.predictor; its value golf.method:Method is now golf.inference.predictor" in message
