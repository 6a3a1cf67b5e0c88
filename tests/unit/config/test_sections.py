"""golf/config/sections.py and model.py: the range of every number"""

import dataclasses
import math
import typing
from pathlib import Path

import pytest

from golf.config import loader, validation
from golf.errors import ConfigError
from tests.helpers.tiny_corpus import ROOT

PROFILE = loader.load_config(ROOT / "profiles" / "laptop.yaml")
EXTREMES = (0, -1, 2**31, 2**63, 2**64, 10**30, 10**400, 0.0, -0.0, 1e300, -1e300, 1e-300, 5e-324, math.inf,
            -math.inf, math.nan)  # fmt: skip


def iter_hints(hint: object) -> typing.Iterator[object]:
    """A type hint and all that it consists of."""
    yield hint
    for part in typing.get_args(hint):
        yield from iter_hints(part)


def list_numeric_keys() -> dict[str, object]:
    """The type hint of every key that holds a number or a list of numbers, by its dotted key."""
    keys = {}
    for section in dataclasses.fields(loader.Config):
        if dataclasses.is_dataclass(section.type):
            for name, hint in typing.get_type_hints(section.type, include_extras=True).items():
                if {int, float} & {part for part in iter_hints(hint) if isinstance(part, type)}:
                    keys[f"{section.name}.{name}"] = hint
    return keys


NUMERIC_KEYS = list_numeric_keys()


def load_with(dotted: str, value: object) -> loader.Config | str:
    """The laptop profile with another value: the configuration, or the message that refuses it."""
    section, key = dotted.split(".")
    mapping = dataclasses.asdict(PROFILE)
    mapping[section][key] = value
    config, problems = validation.from_mapping(loader.Config, mapping, "")
    return "\n".join(problems) or config


def test_every_kind_of_number_is_found():
    assert {"train.seed", "train.limit_s", "train.ema_decays", "model.leaky_slope", "fetch.val_percent"} <= set(
        NUMERIC_KEYS
    )
    assert len(NUMERIC_KEYS) > 80


@pytest.mark.parametrize("dotted", NUMERIC_KEYS)
def test_every_number_has_a_lower_and_an_upper_bound(dotted):
    ranges = [part for part in iter_hints(NUMERIC_KEYS[dotted]) if isinstance(part, validation.Range)]
    assert len(ranges) == 1
    assert math.isfinite(ranges[0].low)
    assert math.isfinite(ranges[0].high)


@pytest.mark.parametrize("dotted", NUMERIC_KEYS)
def test_an_extreme_number_is_accepted_or_refused_by_its_key(dotted, tmp_path):
    is_list = typing.get_origin(NUMERIC_KEYS[dotted]) is tuple
    for extreme in EXTREMES:
        result = load_with(dotted, [extreme, 0.5] if is_list else extreme)
        if isinstance(result, loader.Config):
            assert abs(extreme) <= max(1, 2**31), f"{dotted} accepts {extreme}"
        else:
            assert dotted in result, (extreme, result)
            assert max(map(len, result.splitlines())) < 300


@pytest.mark.parametrize("dotted", ["train.seed", "train.ns_steps", "train.muon_lr", "compress.limit_bytes"])
@pytest.mark.parametrize(
    "text", ["18446744073709551616", "1e300", ".nan", "-.inf", "1e-300", "9" * 5000, "0x" + "f" * 9999]
)
def test_an_extreme_number_of_a_file_is_one_message(dotted, text, tmp_path):
    section, key = dotted.split(".")
    lines = (ROOT / "profiles" / "laptop.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index(f"{section}:")
    number = next(n for n in range(start, len(lines)) if lines[n].startswith(f"  {key}: "))
    lines[number] = f"  {key}: {text}"
    path = Path(tmp_path / "params.yaml")
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        loader.load_config(path)
    assert f"  {dotted}: must be " in str(error.value)
    assert len(str(error.value).removeprefix(str(path))) < 400


def test_the_bounds_leave_room_for_runs_beyond_the_record():
    """Runs of the contest and larger ones: ranges refuse mistakes, not ambition."""
    for dotted, value in {
        "train.seed": 2**63 - 1, "train.steps": 10_000_000, "train.limit_s": 10_000_000.0, "train.muon_lr": 1.0,
        "train.ns_steps": 12, "compress.limit_bytes": 100_000_000_000, "ttt.epochs": 100, "model.rope_base": 5e7,
        "train.resume_save_s": 0.05, "hub.train_shards": 10_000, "quantize.embed_clip": 127.0,
    }.items():  # fmt: skip
        assert isinstance(load_with(dotted, value), loader.Config), dotted


def test_the_precision_of_evaluate_is_never_left_to_the_machine(tmp_path):
    text = (ROOT / "profiles" / "laptop.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("  dtype: float32", "  dtype: auto"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"evaluate\.dtype: must be one of float32, bfloat16, got 'auto'"):
        loader.load_config(path)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([], "must be 1 to 4 pairs of tokens and progress, got []"),
        ([[256.0]], "must be 1 to 4 pairs of tokens and progress, got [[256.0]]"),
        ([[128.5, 0.5], [256.0, 1.0]], "its tokens must be whole numbers of at least 2 that divide"),
        ([[96.0, 0.5], [256.0, 1.0]], "that divide micro_batch_tokens = 4096"),
        ([[128.0, 0.5], [256.0, 0.9]], "its progress must rise from above 0 to 1"),
        ([[128.0, 0.5], [256.0, 0.5]], "its progress must rise from above 0 to 1"),
        ([[256.0, 0.5], [128.0, 1.0]], "must end with model.context_length = 256, got 128"),
        ([[128.0, "x"], [256.0, 1.0]], "train.context_schedule[0][1]: must be a number"),
        (256, "must be a list or null, got 256"),
    ],
)
def test_a_context_schedule_that_can_not_be_followed_is_refused_by_its_key(schedule, message):
    result = load_with("train.context_schedule", schedule)
    assert isinstance(result, str)
    assert message in result
    assert result.startswith("train.context_schedule")


def test_a_context_schedule_that_grows_is_accepted():
    config = load_with("train.context_schedule", [[64, 0.2], [128, 0.5], [256, 1]])
    assert config.train.context_schedule == ((64.0, 0.2), (128.0, 0.5), (256.0, 1.0))
