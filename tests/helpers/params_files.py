"""Files of parameters, most of them faulty, and the message that the loader has for them."""

import dataclasses
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from golf.config import loader
from golf.errors import ConfigError
from tests.helpers.tiny_corpus import ROOT

LAPTOP = ROOT / "profiles" / "laptop.yaml"
SECTIONS = [field.name for field in dataclasses.fields(loader.Config) if field.name != "profile"]


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
