"""Check that the files, class and devices that valid settings name exist."""

import dataclasses
from pathlib import Path

from golf.config.execution import ExecutionConfig
from golf.config.loader import PARAMS_FILE, Config
from golf.config.sections import FetchConfig
from golf.errors import InputError
from golf.pipeline import predictor_file

__all__ = ["require_usable_settings"]


def require_usable_settings(cfg: Config, file: Path) -> None:
    """Check what a stage would refuse later. file: that holds the settings.

    Devices are checked for the params.yaml of the current folder alone: another file may be for another machine.
    Raises InputError, PredictorError or UnavailableError, which name the key.
    """
    _require_fetch_inputs(cfg.fetch, cfg.model.vocab_size)
    predictor_file.require_predictor(cfg.evaluate.predictor)
    if file.resolve() == PARAMS_FILE.resolve():
        _require_devices(cfg)


def _require_fetch_inputs(cfg: FetchConfig, vocab_size: int) -> None:
    """Check the paths that fetch reads: DVC would name a missing one without its key."""
    if cfg.source == "files" and not Path(cfg.path).is_dir():
        raise InputError(f"fetch.path: {cfg.path}: no such folder; put your texts there, or name their folder")
    if cfg.source == "hub":  # an export has its own tokenizer
        return
    from golf.data import tokenizer as tokenizers
    from golf.data import transforms

    if cfg.tokenizer == tokenizers.TRAIN_TOKENIZER:
        return
    if not Path(cfg.tokenizer).is_file():
        hint = f"give the path of a SentencePiece model, or {tokenizers.TRAIN_TOKENIZER}"
        raise InputError(f"fetch.tokenizer: {cfg.tokenizer}: no such file; {hint}")
    tokenizer = tokenizers.Tokenizer.open(cfg.tokenizer)
    tokenizer.require_vocab_size(vocab_size)
    tokenizer.require_symbols(transforms.get_transform(cfg.transform).symbols)
    tokenizer.require_text_unchanged()


def _require_devices(cfg: Config) -> None:
    """Check that a stage with device: cuda has a GPU here. torch is imported only if there is such a stage."""
    sections = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}
    names = [name for name, section in sections.items() if isinstance(section, ExecutionConfig)]
    on_gpu = [name for name in names if sections[name].device == "cuda"]
    if on_gpu:
        from golf.distributed import device

        device.resolve_device("cuda", on_gpu[0], 0)
