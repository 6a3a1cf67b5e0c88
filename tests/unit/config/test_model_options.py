import dataclasses

import pytest

from golf.config import loader, validation
from golf.config.model_options import check_options
from tests.helpers.tiny_corpus import ROOT

RECORD = loader.load_config(ROOT / "profiles" / "record.yaml").model


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"two_lane_from": 5}, "two_lane_from", "6 to 10, or null, got 5"),
        ({"two_lane_from": 11}, "two_lane_from", "6 to 10, or null, got 11"),
        ({"two_lane_from": 4, "recur_passes": 1}, "two_lane_from", "5 to 10, or null, got 4"),
        ({"smear_gate_bos_id": 8192}, "smear_gate_bos_id", "must be below vocab_size = 8192"),
        (
            {"smear_gate_bos_id": 1, "doc_mask_bos_id": 2},
            "smear_gate_bos_id",
            "must be model.doc_mask_bos_id = 2, got 1",
        ),
        ({"smear_gate_bos_id": 1, "d_model": 8, "rope_dims": 0}, "smear_gate_bos_id", "first 12 dimensions"),
        ({"attn_gate": "output", "d_model": 8, "rope_dims": 0}, "attn_gate", "reads the first 12 dimensions"),
    ],
)
def test_an_option_that_contradicts_the_dimensions_is_refused_by_its_key(changes, key, message):
    ((found, text),) = check_options(dataclasses.replace(RECORD, **changes))
    assert found == key
    assert message in text


def test_two_lanes_may_start_at_every_layer_after_the_repeated_ones():
    for layer in range(6, 11):
        assert not [*check_options(dataclasses.replace(RECORD, two_lane_from=layer))]


def test_the_loader_reports_them_by_the_dotted_key():
    params = dataclasses.asdict(loader.load_config(ROOT / "profiles" / "record.yaml"))
    params["model"]["two_lane_from"] = 5
    _, problems = validation.from_mapping(loader.Config, params, "")
    assert [problem.partition(":")[0] for problem in problems] == ["model.two_lane_from"]
