"""Print the bytes by which one training step raises the peak of this process's resident memory."""

import dataclasses
import re
from pathlib import Path

import torch

from golf.config.model import ModelConfig
from golf.distributed.context import single_process
from golf.model.gpt import GPT
from golf.training.ema import EMATracker
from golf.training.optimizer import MuonAdamW
from golf.training.step import make_loss_fn, train_step
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.tiny_training import TINY_TRAIN_CONFIG

MODEL_CONFIG: ModelConfig = dataclasses.replace(
    TINY_MODEL_CONFIG, vocab_size=2048, n_layers=4, d_model=256, n_heads=8, n_kv_heads=4, d_ff=1024, context_length=256,
    recur_start=1, recur_end=1, recur_passes=1,
)  # fmt: skip
TRAIN_CONFIG = dataclasses.replace(TINY_TRAIN_CONFIG, batch_tokens=8192, micro_batch_tokens=8192, compile="off")


def main() -> None:
    torch.set_num_threads(1)
    ctx = single_process()
    _step(dataclasses.replace(MODEL_CONFIG, n_layers=2, d_model=32, d_ff=64), 256, ctx)  # imports and thread pools
    before = _read_peak()
    _step(MODEL_CONFIG, TRAIN_CONFIG.batch_tokens, ctx)
    print(_read_peak() - before)


def _step(model_cfg: ModelConfig, tokens: int, ctx) -> None:
    generator = torch.Generator().manual_seed(0)
    model = GPT(model_cfg).init_weights(generator)
    cfg = dataclasses.replace(TRAIN_CONFIG, batch_tokens=tokens, micro_batch_tokens=tokens)
    optimizer = MuonAdamW(model, cfg, ctx)
    averages = EMATracker(dict(model.named_parameters()), cfg.ema_decays, cfg.ema_basis_decays, 0, 1)
    x = torch.randint(model_cfg.vocab_size, (tokens // model_cfg.context_length, model_cfg.context_length))
    train_step(model, make_loss_fn(model, ctx), (x, x), optimizer, 0, 1.0, False, ctx)
    averages.update()


def _read_peak() -> int:
    """The peak since this program began; getrusage's would be that of the process that started it, if larger."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


if __name__ == "__main__":
    main()
