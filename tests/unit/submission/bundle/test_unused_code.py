"""golf/submission/bundle/unused_code.py: a bundle pays for the code that its settings use"""

import ast
import copy
import dataclasses
import subprocess
import sys

import pytest

from golf.compression.code_parts import OPTIONAL_MODULES
from golf.config import loader
from golf.submission.bundle import packing
from golf.submission.bundle.unused_code import OPTIONAL_CODE, list_unused_code
from tests.helpers.tiny_corpus import ROOT

PROFILES = {
    path.stem: dataclasses.asdict(loader.load_config(path)) for path in sorted((ROOT / "profiles").glob("*.yaml"))
}


def change_settings(settings: dict, **changes: object) -> dict:
    """changes: values by key, as quantize__grid."""
    changed = copy.deepcopy(settings)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        assert key in changed[section]
        changed[section][key] = value
    return changed


def is_defined(name: str) -> bool:
    """Whether a dotted name is that of a module, or of a function, class or method in one."""
    parts = name.split(".")
    for n_names in range(3):
        path = ROOT.joinpath(*parts[: len(parts) - n_names]).with_suffix(".py")
        if path.is_file():
            body = ast.parse(path.read_bytes()).body
            for wanted in parts[len(parts) - n_names :]:
                body = next((node.body for node in body if getattr(node, "name", None) == wanted), None)
                if body is None:
                    return False
            return True
    return False


def test_every_optional_name_exists():
    assert [name for name in OPTIONAL_CODE if not is_defined(name)] == []
    assert not is_defined("golf.compression.writer.no_such_function")


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"train__data_order": "documents"}, {"golf.data.sampling.document_order"}),
        ({"train__ema_nesterov_beta": 0.3}, {"golf.training.ema_nesterov"}),
        ({"train__decay_schedule": "cautious"}, {"golf.training.optimizer.MuonAdamW._step_adamw_cautiously"}),
        ({"calibrate__source": "self"}, {"golf.quantization.self_generation"}),
        ({"compress__codec": "ans"}, {"golf.compression.ans", "golf.compression.writer.encode_ans"}),
        ({"quantize__grid": "row_column"}, {"golf.quantization.column_scales", "golf.quantization.report"}),
        (
            {"quantize__grid": "row_column", "quantize__rate_weight": 0.05},
            {"golf.compression.ans", "golf.compression.ans_fit", "golf.quantization.trellis.ColumnRounder"},
        ),
        (
            {"quantize__grid": "row_column", "quantize__coding": "trellis", "compress__codec": "ans"},
            {"golf.quantization.viterbi", "golf.compression.trellis", "golf.compression.writer.encode_trellis"},
        ),
        ({"model__attn_gate": "dense"}, {"golf.model.gates"}),
        ({"ttt__method": "lora"}, {"golf.inference.lora"}),
        ({"evaluate__order": "documents"}, {"golf.inference.document_scorer"}),
        ({"memory__orders": [1, 2]}, {"golf.inference.ngram_memory"}),
    ],
)
def test_a_setting_brings_the_code_that_it_needs(changes, names):
    record = PROFILES["record"]
    assert names <= set(list_unused_code(record))
    assert names.isdisjoint(list_unused_code(change_settings(record, **changes)))


def test_the_row_grid_alone_needs_its_scales():
    name = "golf.quantization.solver.quantize_with_row_scales"
    assert name not in list_unused_code(PROFILES["record"])
    assert name in list_unused_code(PROFILES["laptop"])


def test_the_optional_modules_of_the_predictor_are_optional_here_too():
    unused = set(list_unused_code(change_settings(PROFILES["record"], ttt__method="none")))
    assert {module.removesuffix(".py").replace("/", ".") for module in OPTIONAL_MODULES} <= unused


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_every_module_of_a_profiles_bundle_loads(profile, tmp_path):
    (tmp_path / packing.SCRIPT_NAME).write_bytes(packing.pack_bundle(PROFILES[profile], ROOT))
    command = [sys.executable, "-I", packing.SCRIPT_NAME, "--help"]
    completed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stderr) == (0, ""), completed.stderr
    assert "--modes" in completed.stdout
