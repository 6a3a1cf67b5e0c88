"""golf/config/loader.py, renamed_keys.py, params.yaml and the profiles"""

import dataclasses
import re
import typing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from golf.config import loader, renamed_keys
from golf.errors import ConfigError
from tests.helpers import committed
from tests.helpers.tiny_corpus import ROOT

LAPTOP, RECORD = ROOT / "profiles" / "laptop.yaml", ROOT / "profiles" / "record.yaml"
SECTIONS = [field.name for field in dataclasses.fields(loader.Config) if field.name != "profile"]


@pytest.fixture(scope="module")
def params_file(tmp_path_factory):
    """A params.yaml to be overwritten by each example."""
    return tmp_path_factory.mktemp("params") / "params.yaml"


def laptop_params() -> dict:
    """The laptop profile, with fixed values for the numbers that these tests rely on."""
    params = YAML(typ="safe", pure=True).load(LAPTOP.read_text(encoding="utf-8"))
    params["model"] |= {"context_length": 256, "n_layers": 5, "d_model": 192, "n_heads": 6, "n_kv_heads": 3}
    params["model"]["recur_passes"] = 2
    params["train"] |= {"ranks": 1, "limit_s": 122.0, "steps": None, "batch_tokens": 4096, "micro_batch_tokens": 4096}
    params["ttt"] |= {"chunk_tokens": 2048, "batch_tokens": 2048}
    params["calibrate"] |= {"ranks": 1, "batch_tokens": 16384, "micro_batch_tokens": 16384}
    return params


def write_yaml(path: Path, obj) -> Path:
    with open(path, "w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(obj, file)
    return path


def load_error(path: Path) -> str:
    """The message of loading ``path``, which must fail."""
    with pytest.raises(ConfigError) as error:
        loader.load_config(path)
    return str(error.value)


def error_with(path: Path, **changes) -> str:
    """The message for the laptop profile with other values, such as {"ttt.lr": "abc"}."""
    params = laptop_params()
    for dotted, value in changes.items():
        *sections, key = dotted.split(".")
        (params[sections[0]] if sections else params)[key] = value
    return load_error(write_yaml(path, params))


def dotted_keys(params, prefix="") -> set[str]:
    if not isinstance(params, dict):
        return {prefix}
    return {key for name, value in params.items() for key in dotted_keys(value, f"{prefix}.{name}")}


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
        ({"memory.escape_weights": [1.0]}, "memory.escape_weights: must be 7 numbers, one an order, got 1"),
        ({"ttt.stride": 100}, "ttt.stride: must divide model.context_length = 256, got 100"),
        ({"evaluate.stride": 512}, "evaluate.stride: must divide model.context_length = 256, got 512"),
        ({"prequant.batch_tokens": 1000}, "prequant.batch_tokens: must be a multiple of model.context_length = 256"),
        ({"prequant.chunk_tokens": 1000}, "prequant.chunk_tokens: must be a multiple of model.context_length = 256"),
        ({"prequant.freeze_blocks": 6}, "prequant.freeze_blocks: must be at most model.n_layers = 5, got 6"),
        ({"calibrate.batch_tokens": 4096}, "calibrate.batch_tokens: must be a multiple"),
        (
            {"quantize.grid": "row", "quantize.base_step": 0.5},
            "quantize.base_step: must be null with quantize.grid = row",
        ),
        ({"compress.limit_bytes": 14_000}, "compress.code_reserve_bytes: must be below limit_bytes = 14000, got 14500"),
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
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: not found; cp profiles/laptop\.yaml"):
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


@pytest.mark.parametrize("old_key", sorted(renamed_keys.RENAMED_KEYS))
def test_an_old_key_is_reported_with_its_new_name(params_file, old_key):
    new_key = renamed_keys.RENAMED_KEYS[old_key]
    (section, old_name), (new_section, new_name) = old_key.split("."), new_key.split(".")
    assert section == new_section
    params = laptop_params()
    params[section][old_name] = params[section].pop(new_name)  # fails if the new key does not exist
    message = load_error(write_yaml(params_file, params))
    assert message.startswith(f"{params_file}: 1 problem\n  {old_key}: renamed to {new_key}\n")


def test_old_values_are_reported_with_their_new_names(params_file):
    changes = {"quantize.grid": "column", "compress.codec": "entropy", "evaluate.predictor": "golf.method:Method"}
    message = error_with(params_file, **changes)
    for line in (
        "quantize.grid: the value column is now row_column",
        "compress.codec: the value entropy is now ans",
        "evaluate.predictor: the value golf.method:Method is now golf.inference.predictor:GolfPredictor",
    ):
        assert f"  {line}\n" in message
    assert "3 problems" in message


def test_an_old_key_with_an_old_value_is_reported_with_both_new_names(params_file):
    params = laptop_params()
    del params["evaluate"]["predictor"]
    params["evaluate"]["method"] = "golf.method:Method"
    message = load_error(write_yaml(params_file, params))
    assert "1 problem\n" in message
    assert "renamed to evaluate.predictor; its value golf.method:Method is now golf.inference.predictor" in message


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
