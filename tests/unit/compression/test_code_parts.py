"""golf/compression/code_parts.py: a run pays for the code that it uses"""

import dataclasses
from pathlib import Path

import pytest

from golf.artifacts.source_deps import import_closure
from golf.compression.code_parts import OPTIONAL_MODULES, RunParts, list_unused_modules
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG

ROOT = Path(__file__).parents[3]
PREDICTOR = "golf/inference/predictor.py"
OPTIONAL_PARTS = {"attn_gate": "sparse", "two_lane_from": 3, "smear_gate_bos_id": 1}
ALL_PARTS = RunParts(
    model=dataclasses.replace(TINY_MODEL_CONFIG, **OPTIONAL_PARTS),
    codecs=frozenset({"ans", "brotli", "trellis"}),
    ttt_method="phased",
    has_adapters=True,
    order="documents",
    has_ngrams=True,
    memory_scope="document",
    has_cache=True,
    has_tilt=True,
    has_low_rank=True,
    has_rotation=True,
)


def test_the_predictor_imports_every_optional_module():
    assert set(OPTIONAL_MODULES) <= set(import_closure(PREDICTOR, root=ROOT))


@pytest.mark.parametrize(
    ("change", "module"),
    [
        ({"codecs": frozenset({"brotli"})}, "golf/compression/ans.py"),
        ({"codecs": frozenset({"brotli", "ans"})}, "golf/compression/trellis.py"),
        ({"has_low_rank": False}, "golf/compression/low_rank.py"),
        ({"has_rotation": False}, "golf/compression/rotation.py"),
        ({"has_low_rank": False, "has_rotation": False}, "golf/compression/stored_weights.py"),
        ({"has_ngrams": False}, "golf/inference/ngram_memory.py"),
        ({"memory_scope": "stream"}, "golf/inference/document_memory.py"),
        ({"has_cache": False}, "golf/inference/neural_cache.py"),
        ({"has_tilt": False}, "golf/inference/token_tilt.py"),
        ({"order": "stream"}, "golf/inference/document_scorer.py"),
        ({"has_adapters": False}, "golf/inference/lora.py"),
        ({"ttt_method": "score_first"}, "golf/inference/phased_sgd.py"),
        ({"ttt_method": "none"}, "golf/inference/score_first_sgd.py"),
        ({"ttt_method": "prequant"}, "golf/inference/score_first_sgd.py"),
        ({"model": TINY_MODEL_CONFIG}, "golf/model/gates.py"),
        ({"model": TINY_MODEL_CONFIG}, "golf/model/residual_lanes.py"),
        ({"model": TINY_MODEL_CONFIG}, "golf/model/smear_gate.py"),
    ],
)
def test_a_module_is_left_out_when_no_setting_names_it(change, module):
    used, unused = list_unused_modules(ALL_PARTS), list_unused_modules(dataclasses.replace(ALL_PARTS, **change))
    assert module not in used
    assert module in unused
    assert module not in import_closure(PREDICTOR, root=ROOT, excluded=unused)
