"""params.yaml and the profiles"""

import pytest
from ruamel.yaml import YAML

from golf.config import loader
from tests.helpers import committed
from tests.helpers.params_files import SECTIONS, dotted_keys
from tests.helpers.tiny_corpus import ROOT

RECORD = ROOT / "profiles" / "record.yaml"


def test_the_committed_params_are_the_laptop_profile_byte_for_byte():
    assert committed.read_text("params.yaml") == committed.read_text("profiles/laptop.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_loads_under_its_own_name(path):
    assert loader.load_config(path).profile == path.stem


def test_all_profiles_have_one_key_tree():
    trees = [YAML(typ="safe", pure=True).load(path.read_text()) for path in (ROOT / "profiles").glob("*.yaml")]
    assert len(trees) >= 2
    assert all(dotted_keys(tree) == dotted_keys(trees[0]) for tree in trees)


def test_the_file_has_a_section_for_every_stage():
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} <= set(SECTIONS)


def test_the_record_profile_is_the_configuration_of_pr_1493():
    config = loader.load_config(RECORD)
    train, ttt, quantize = config.train, config.ttt, config.quantize
    assert (train.ranks, train.batch_tokens, train.limit_s, train.reserve_s) == (8, 786_432, 600.0, 12.0)
    assert (train.recurrence_from, train.warmdown_frac, train.ema_decays[0], train.ns_steps) == (0.35, 0.72, 0.9965, 5)
    assert (train.muon_lr, train.embed_lr, train.scalar_lr) == (0.022, 0.03, 0.02)
    assert (train.muon_momentum_start, train.muon_momentum, train.muon_momentum_warmup_steps, train.grad_clip) == (
        0.92,
        0.99,
        1500,
        0.3,
    )
    assert (ttt.lr, ttt.momentum, ttt.epochs, ttt.chunk_tokens, ttt.grad_clip) == (0.005, 0.9, 3, 32_768, 1.0)
    assert (quantize.matrix_bits, quantize.matrix_clip, quantize.embed_bits, quantize.embed_clip) == (6, 12.85, 8, 20.0)
    assert (quantize.damping_frac, quantize.block_size, quantize.min_weights) == (0.01, 128, 65_536)
    assert (config.evaluate.stride, config.compress.limit_bytes, config.calibrate.batches) == (64, 16_000_000, 64)


def test_the_record_profile_holds_the_values_of_pr_1485_and_pr_1735_switched_off():
    config = loader.load_config(RECORD)
    prequant = config.prequant
    assert (config.ttt.method, config.ttt.stream, config.quantize.weights) == ("score_first", "dev", "ema")
    assert (prequant.sync, prequant.epochs, prequant.lr) == ("sequential", 6, 5e-4)
    assert (prequant.freeze_blocks, prequant.grad_clip) == (2, 1.0)
    assert (prequant.batch_tokens, prequant.chunk_tokens) == (32 * config.model.context_length, 32_768)
    assert (prequant.min_lr_frac, prequant.ema_decay) == (0.1, None)
