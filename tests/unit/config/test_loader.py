"""golf/config/loader.py"""

import dataclasses
import re
import typing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from golf.config import loader
from golf.errors import ConfigError
from tests.helpers.params_files import LAPTOP, SECTIONS, dotted_keys, error_with, laptop_params, load_error, write_yaml


@pytest.fixture(scope="module")
def params_file(tmp_path_factory):
    """A params.yaml to be overwritten by each example."""
    return tmp_path_factory.mktemp("params") / "params.yaml"


def test_sections_and_keys_come_in_the_requested_order():
    weights, model = loader.load_sections("quantize.weights", "model", path=LAPTOP)
    assert (weights, model) == (loader.load_config(LAPTOP).quantize.weights, loader.load_config(LAPTOP).model)
    assert loader.load_sections("model", "quantize.weights", path=LAPTOP) == (model, weights)
    assert loader.load_sections("train.seed", path=LAPTOP) == loader.load_config(LAPTOP).train.seed, (
        "one name, one value"
    )


def test_exponents_as_dvc_writes_them_are_floats(params_file):
    params_file.write_text(re.sub(r"(?m)^  lr: .*$", "  lr: 1e-05", LAPTOP.read_text()))
    assert loader.load_sections("ttt.lr", path=params_file) == 1e-05


def test_off_and_on_are_text_in_yaml_1_2(params_file):
    for word in ("off", "on"):
        params_file.write_text(re.sub(r"(?m)^  compile: .*$", f"  compile: {word}", LAPTOP.read_text()))
        assert loader.load_sections("train", path=params_file).compile == word


def test_text_instead_of_a_number_is_reported_with_the_dotted_key(params_file):
    message = error_with(params_file, **{"ttt.lr": "abc"})
    assert "ttt.lr: must be a number, got 'abc'" in message
    assert message.startswith(f"{params_file}: 1 problem\n")
    assert "-S" in message, "the hint says that -S changes the file"


def test_all_problems_are_reported_in_one_message(params_file):
    params = laptop_params()
    params["fetch"]["sauce"] = "stdlib"  # unknown
    del params["ema"]["decay"]  # missing
    params["ttt"]["lr"] = "abc"  # mistyped
    params["quantize"]["matrix_bits"] = 9  # out of range
    params["train"]["reserve_s"] = 500.0  # contradicts limit_s
    params["compress"]["codec"] = "zip"  # no such choice
    params["evaluate"]["lr"] = 0.1  # of another section
    params["modle"] = {}
    message = load_error(write_yaml(params_file, params))
    assert "8 problems" in message
    for part in (
        "fetch.sauce: unknown key; did you mean fetch.source?",
        "ema.decay: missing",
        "ttt.lr: must be a number, got 'abc'",
        "quantize.matrix_bits: must be at least 2 and at most 8, got 9",
        "train.reserve_s: must be below limit_s = 122, got 500",
        "compress.codec: must be one of brotli, ans, got 'zip'",
        "evaluate.lr: unknown key; did you mean ttt.lr?",
        "modle: unknown key; did you mean model?",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"train.steps": None, "train.limit_s": None}, "train.steps: steps and limit_s are both null"),
        (
            {"train.micro_batch_tokens": 3000},
            "train.batch_tokens: must be a multiple of micro_batch_tokens x ranks",
        ),
        (
            {"train.micro_batch_tokens": 3000},
            "train.micro_batch_tokens: must be a multiple of model.context_length = 256, got 3000",
        ),
        ({"train.ranks": 3}, "train.batch_tokens: must be a multiple of micro_batch_tokens x ranks = 12288, got 4096"),
        ({"train.ema_basis_decays": [0.9, 0.9]}, "train.ema_basis_decays: must be two different decays"),
        ({"train.ema_basis_decays": [0.9]}, "train.ema_basis_decays: must be two different decays"),
        ({"train.ema_decays": [0.9, 0.9]}, "train.ema_decays: must not contain a decay twice"),
        ({"train.recurrence_from": 1}, "train.recurrence_from: must be below 1"),
        ({"ttt.batch_tokens": 1280}, "ttt.batch_tokens: must divide chunk_tokens = 2048, got 1280"),
        ({"memory.orders": [2, 1]}, "memory.orders: must rise, each order once, got [2, 1]"),
        ({"memory.escape_weights": [1.0]}, "memory.escape_weights: must be 6 numbers, one an order, got 1"),
        ({"memory.hedge": [1.0, 1.0]}, "memory.hedge: must not contain a multiple twice, got [1.0, 1.0]"),
        (
            {f"lora.{name}": False for name in ("q", "k", "v", "o", "mlp", "head")},
            "lora.head: q, k, v, o, mlp and head are all false, so nothing would learn; set one to true",
        ),
        ({"phased.phases": 41}, "phased.prefix_documents: must be at least phases = 41, got 40"),
        (
            {"ttt.method": "phased", "phased.chunk_tokens": 1024},
            "phased.chunk_tokens: must be a multiple of ttt.batch_tokens = 2048, got 1024",
        ),
        ({"ttt.stride": 100}, "ttt.stride: must divide model.context_length = 256, got 100"),
        ({"evaluate.stride": 512}, "evaluate.stride: must divide model.context_length = 256, got 512"),
        ({"prequant.batch_tokens": 1000}, "prequant.batch_tokens: must be a multiple of model.context_length = 256"),
        ({"prequant.chunk_tokens": 1000}, "prequant.chunk_tokens: must be a multiple of model.context_length = 256"),
        ({"ttt.freeze_blocks": 5}, "ttt.freeze_blocks: must be below model.n_layers = 5, got 5"),
        ({"prequant.freeze_blocks": 6}, "prequant.freeze_blocks: must be at most model.n_layers = 5, got 6"),
        ({"calibrate.batch_tokens": 4096}, "calibrate.batch_tokens: must be a multiple"),
        (
            {"quantize.grid": "row", "quantize.base_step": 0.5},
            "quantize.base_step: must be null with quantize.grid = row",
        ),
        ({"compress.limit_bytes": 14_000}, "compress.code_reserve_bytes: must be below limit_bytes = 14000, got 19000"),
        (
            {"quantize.grid": "row", "quantize.rate_weight": 0.0},
            "quantize.coding: must be scalar with quantize.grid = row, got trellis",
        ),
        (
            {"quantize.grid": "row", "quantize.coding": "scalar"},
            "quantize.rate_weight: must be 0 with quantize.grid = row, got 0.05",
        ),
        (
            {"compress.codec": "brotli"},
            "quantize.coding: must be scalar with compress.codec = brotli, got trellis",
        ),
        ({"quantize.trellis_states": 5}, "quantize.trellis_states: must be one of 4, 8, 16, got 5"),
        ({"quantize.refine_steps": -1}, "quantize.refine_steps: must be at least 0 and at most"),
        (
            {"quantize.refine_steps": 8, "compress.count": "bundle"},
            "quantize.refine_steps: must be 0 with compress.count = bundle, got 8",
        ),
        (
            {"quantize.refine_steps": 8, "quantize.lqer": 4},
            "quantize.refine_steps: must be 0 with quantize.rotate or quantize.lqer, got 8",
        ),
        ({"calibrate.sensitivity_tokens": 0}, "calibrate.sensitivity_tokens: must be above 0 with quantize.grid"),
        ({"calibrate.sensitivity_tokens": 65792}, "calibrate.sensitivity_tokens: must be at most"),
        ({"model.d_model": 191}, "model.d_model: must be a multiple of n_heads = 6, got 191"),
        ({"model.n_kv_heads": 4}, "model.n_kv_heads: must divide n_heads = 6, got 4"),
        ({"model.rope_dims": 33}, "model.rope_dims: must be even and at most d_model / n_heads = 32, got 33"),
        ({"model.recur_end": 5}, "model.recur_end: recur_start <= recur_end < n_layers"),
        ({"model.parallel_residual_from": 6}, "model.parallel_residual_from: must be at most n_layers = 5"),
    ],
)
def test_contradictions_are_reported_with_their_key(params_file, changes, problem):
    assert problem in error_with(params_file, **changes)


def test_contradictions_inside_and_between_sections_are_reported_together(params_file):
    message = error_with(params_file, **{"fetch.foo": 1, "train.reserve_s": 500.0, "evaluate.stride": 100})
    for key in ("fetch.foo", "train.reserve_s", "evaluate.stride"):
        assert f"  {key}: " in message


def test_a_missing_file_is_named_with_a_hint(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: not found; copy a profile: cp profiles/laptop\.yaml"):
        loader.load_config(tmp_path / "nowhere.yaml")


def test_a_folder_is_not_read_as_a_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        loader.load_config(tmp_path)


def test_bytes_that_are_not_utf8_are_refused(params_file):
    params_file.write_bytes(b"profile: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        loader.load_config(params_file)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train: [1\nema: 2\n", "not valid YAML: line 2"),
        ("train: {}\nema: {}\ntrain: {}\n", 'line 3, column 1: found duplicate key "train"'),
        ("ttt:\n  lr: 1\n  lr: 2\n", 'duplicate key "lr"'),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("a: !!bool x\n", "not valid YAML: a value does not fit its tag ('x')"),
        ("a: !!int ''\n", "not valid YAML: a value does not fit its tag"),
        ("[" * 100_000, "nest"),
        ("- " * 100_000, "nest"),
        ("a: " + "[" * 40 + "]" * 40, "line 1, column 35: lists or sections are nested more than 32 deep"),
        ("? [1, 2]\n: 3\n", "not valid YAML: line 1, column 3: found unhashable key"),
        ("", "the file: expected a section with keys, got nothing (null)"),
        ("- train\n", "the file: expected a section with keys, got ['train']"),
    ],
)
def test_a_file_that_is_no_valid_mapping_is_reported_briefly(params_file, text, problem):
    params_file.write_text(text, encoding="utf-8")
    assert problem in load_error(params_file)


def test_an_unknown_key_without_a_similar_one_gets_no_hint(params_file):
    message = error_with(params_file, **{"train.zzz": 1, "qqq": 1})
    assert "  qqq: unknown key\n  train.zzz: unknown key\n" in message


def test_of_many_problems_20_are_shown_and_the_others_counted(params_file):
    """Timed in test_yaml_reader.py."""
    message = error_with(params_file, **{f"train.key{i:03}": i for i in range(200)})
    assert message.startswith(f"{params_file}: 200 problems\n  train.key000: unknown key\n")
    assert [line.split(":")[0] for line in message.splitlines()[20:22]] == ["  train.key019", "  and 180 more"]
    assert len(message.splitlines()) == 23


@pytest.mark.parametrize("value", ["x" * 100_000, ["x" * 50] * 1000, "\n" * 1000, {"x" * 1000: 1}, 10**4000])
@pytest.mark.parametrize("key", ["train.limit_s", "train.ema_basis_decays", "fetch.source", "fetch.path", "model"])
def test_a_long_value_makes_no_long_message(params_file, key, value):
    message = error_with(params_file, **{key: value})
    assert key.split(".")[-1] in message
    assert max(map(len, message.splitlines())) < 400


def test_a_contradiction_that_quotes_a_long_list_is_cut(params_file):
    message = error_with(params_file, **{"train.ema_basis_decays": [0.5] * 5000})
    assert "train.ema_basis_decays: must be two different decays" in message
    assert len(message) < 700


@pytest.mark.parametrize("value", ["None", "", "null", "none"])
@pytest.mark.parametrize("key", ["train.limit_s", "train.grad_clip", "train.dev_every", "hub.root"])
def test_text_where_null_may_stand_is_told_how_to_write_null(params_file, key, value):
    (line,) = error_with(params_file, **{key: value}).splitlines()[1:-1]
    assert line.startswith(f"  {key}: must be ")
    assert line.endswith(f" or null, got '{value}'; write null without quotes, as in -S {key}=null")


@pytest.mark.parametrize(("value", "shown"), [(None, "nothing (null)"), ("None", "'None'")])
@pytest.mark.parametrize("key", ["train.ranks", "ttt.lr", "train.resume", "ema.dtype"])
def test_null_where_it_can_not_stand_is_refused_as_such(params_file, key, value, shown):
    message = error_with(params_file, **{key: value})
    assert f"  {key}: must be " in message
    assert f", got {shown}; null is not allowed here\n" in message


TEXT_KEYS = [
    f"{section.name}.{key}"
    for section in dataclasses.fields(loader.Config)
    if dataclasses.is_dataclass(section.type)
    for key, hint in typing.get_type_hints(section.type).items()
    if hint in (str, str | None)
]


@pytest.mark.parametrize("value", ["", " ", "a\x00b", "a\nb", "\x1b[31m", "x" * 5000])
@pytest.mark.parametrize("key", ["profile", *TEXT_KEYS])
def test_text_that_can_name_nothing_is_refused(params_file, key, value):
    assert f"  {key}: must be text that is not blank" in error_with(params_file, **{key: value})


def test_every_section_must_be_a_mapping(params_file):
    message = error_with(params_file, **dict.fromkeys(SECTIONS, 3))
    for section in SECTIONS:
        assert f"{section}: expected a section with keys, got 3" in message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"))
JUNK = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab.é"), inner), max_leaves=8)
QUICK = settings(suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(st.text() | st.text("[]{}:-!&*?|>%@`'\" \n\tab01.~"))
def test_no_text_makes_the_loader_crash(params_file, text):
    params_file.write_text(text, encoding="utf-8", errors="replace", newline="")
    with pytest.raises(ConfigError):
        loader.load_config(params_file)


@QUICK
@given(JUNK)
def test_no_yaml_value_makes_the_loader_crash(params_file, params):
    with pytest.raises(ConfigError):
        loader.load_config(write_yaml(params_file, params))


@QUICK
@given(st.sampled_from(sorted(dotted_keys(laptop_params()))), JUNK)
def test_an_arbitrary_value_is_accepted_or_reported_with_its_key(params_file, dotted, junk):
    params = laptop_params()
    *sections, key = dotted.strip(".").split(".")
    (params[sections[0]] if sections else params)[key] = junk
    problem = try_load(write_yaml(params_file, params))
    assert problem == "" or key in problem or "not valid YAML" in problem  # it writes ? but cannot read it


def try_load(path: Path) -> str:
    try:
        loader.load_config(path)
    except ConfigError as error:
        return str(error)
    return ""
