"""golf/compression/code_parts.py: a run pays for the code that it uses"""

import dataclasses
from pathlib import Path

import pytest

from golf.artifacts.source_deps import find_import_closure
from golf.compression.code_parts import OPTIONAL_MODULES, RunParts, list_unused_modules
from golf.config.adaptation import TTTPlan
from golf.config.loader import load_config
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG

ROOT = Path(__file__).parents[3]
PREDICTOR = "golf/inference/predictor.py"
OPTIONAL_PARTS = {"attn_gate": "sparse", "two_lane_from": 3, "smear_gate_bos_id": 1, "conv_kernel": 3}
CODECS = frozenset({"ans", "brotli", "trellis"})
ALL_PARTS = RunParts(
    model=dataclasses.replace(TINY_MODEL_CONFIG, **OPTIONAL_PARTS),
    codecs=CODECS,
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

LAPTOP_PARTS = dataclasses.replace(
    ALL_PARTS,
    model=TINY_MODEL_CONFIG,
    ttt_method="score_first",
    has_adapters=False,
    order="stream",
    memory_scope="stream",
    has_tilt=False,
    has_low_rank=False,
    has_rotation=False,
)


def test_the_predictor_imports_every_optional_module():
    assert set(OPTIONAL_MODULES) <= set(find_import_closure(PREDICTOR, root=ROOT))


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
    assert module not in find_import_closure(PREDICTOR, root=ROOT, excluded=unused)


def read_parts(**changes: object) -> RunParts:
    """The parts of the laptop profile with other settings, named section__key."""
    settings = dataclasses.asdict(load_config(ROOT / "profiles/laptop.yaml"))
    for name, value in changes.items():
        section, key = name.split("__")
        settings[section][key] = value
    return RunParts.from_settings(settings, TINY_MODEL_CONFIG, CODECS)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({}, {}),
        ({"ttt__method": "phased"}, {"ttt_method": "phased"}),
        ({"ttt__method": "lora"}, {"ttt_method": "lora", "has_adapters": True}),
        ({"ttt__method": "phased", "phased__lora_lr": 1e-4}, {"ttt_method": "phased", "has_adapters": True}),
        ({"phased__lora_lr": 1e-4}, {}),
        ({"evaluate__order": "documents"}, {"order": "documents"}),
        ({"memory__orders": ()}, {"has_ngrams": False}),
        ({"memory__scope": "document"}, {"memory_scope": "document"}),
        ({"memory__cache_tokens": None}, {"has_cache": False}),
        ({"memory__tilt_order": 15}, {"has_tilt": True}),
        ({"quantize__lqer": 4}, {"has_low_rank": True}),
        ({"quantize__rotate": 0}, {"has_rotation": True}),
    ],
)
def test_the_parts_of_a_run_follow_from_its_settings(change, part):
    assert read_parts(**change) == dataclasses.replace(LAPTOP_PARTS, **part)


@pytest.mark.parametrize("method", ["score_first", "lora", "phased", "prequant", "none"])
@pytest.mark.parametrize("lora_lr", [None, 1e-4])
def test_adapters_are_packed_when_the_plan_has_them(method, lora_lr):
    cfg = load_config(ROOT / "profiles/laptop.yaml")
    ttt, phased = dataclasses.replace(cfg.ttt, method=method), dataclasses.replace(cfg.phased, lora_lr=lora_lr)
    has_lora = TTTPlan.from_sections(ttt, cfg.lora, phased).lora is not None
    assert read_parts(ttt__method=method, phased__lora_lr=lora_lr).has_adapters == has_lora
