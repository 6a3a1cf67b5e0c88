"""Train, round and choose the plain GPT of the scoreboard.

AdamW with warm-up and a cosine, in the precision and with the compiler that the train stage uses. Its file has matrices
rounded to nearest, with one scale for each row, the largest magnitude over as many steps as still fit the limit. Three
shapes, which fit at about 8, 6 and 4 bits, and three learning rates are compared on dev after short runs.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import brotli
import numpy as np
import plain_gpt
import torch
from plain_gpt import HEAD_SIZE, PlainGPT
from scoreboard_data import SplitData

from golf.distributed.context import DistContext

LEARNING_RATES = (1e-3, 2e-3, 4e-3)
_N_LAYERS = 5
_BITS = {4: 3.6, 6: 5.6, 8: 7.6}  # nominal bits of a weight, and those that it takes after Brotli
_BETAS, _WEIGHT_DECAY, _GRAD_CLIP = (0.9, 0.95), 0.1, 1.0
_WARMUP_FRAC, _MIN_LR_FRAC = 0.02, 0.1  # of the budget; of the learning rate
_LEVELS = tuple(1.02**i for i in range(245))  # steps from 0 to the largest weight of a row; at most 127
_SEED = 314


@dataclass(frozen=True)
class GptSettings:
    """seconds: of training steps; compilation comes before them. batch_tokens: of a step."""

    d_model: int
    lr: float
    seconds: float
    context_length: int
    batch_tokens: int
    n_layers: int = _N_LAYERS


def list_widths(vocab_size: int, limit_bytes: int) -> dict[int, int]:
    """Nominal bits -> the width, a multiple of the head size, with which about ``limit_bytes`` are filled."""
    widths = {}
    for bits, bits_in_file in _BITS.items():
        n_params, a = 8 * limit_bytes / bits_in_file, 12 * _N_LAYERS  # a d² + V d = n_params
        width = (math.sqrt(vocab_size**2 + 4 * a * n_params) - vocab_size) / (2 * a)
        widths[bits] = max(HEAD_SIZE, round(width / HEAD_SIZE) * HEAD_SIZE)
    return widths


def train(tokens: np.ndarray, vocab_size: int, settings: GptSettings, ctx: DistContext) -> tuple[PlainGPT, int, float]:
    """The trained model, its steps and their seconds. tokens: of the train split, in order."""
    torch.manual_seed(_SEED)
    model = PlainGPT(vocab_size, settings.d_model, settings.n_layers, settings.context_length).to(ctx.device)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=_BETAS, fused=True)

    def compute_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with ctx.autocast():
            return model.nll(x, y).mean()

    compiled_loss = ctx.maybe_compile(compute_loss)
    batches = _iter_batches(tokens, settings)
    compiled_loss(*(part.to(ctx.device) for part in next(batches))).backward()  # compiles, before the clock starts
    optimizer.zero_grad()
    ctx.synchronize()
    started_at, n_steps = time.perf_counter(), 0
    while (progress := (time.perf_counter() - started_at) / settings.seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * _lr_multiplier(progress)
        compiled_loss(*(part.to(ctx.device) for part in next(batches))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _GRAD_CLIP)
        optimizer.step()
        optimizer.zero_grad()
        n_steps += 1
    ctx.synchronize()
    return model, n_steps, time.perf_counter() - started_at


def _lr_multiplier(progress: float) -> float:
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return min(1.0, progress / _WARMUP_FRAC + 1e-3) * (_MIN_LR_FRAC + (1 - _MIN_LR_FRAC) * cosine)


def _iter_batches(tokens: np.ndarray, settings: GptSettings) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless: inputs and targets [rows, context_length]. An epoch is adjacent windows at a random phase, shuffled."""
    rng = np.random.default_rng(_SEED)
    ids, length = torch.from_numpy(tokens.astype(np.int64)), settings.context_length
    rows = max(1, settings.batch_tokens // length)
    while True:
        starts = rng.permutation(np.arange(rng.integers(length), len(tokens) - length, length))
        for first in range(0, len(starts) - rows + 1, rows):
            windows = ids[torch.from_numpy(starts[first : first + rows])[:, None] + torch.arange(length + 1)]
            yield windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def pack(model: PlainGPT, level: float) -> bytes:
    """The file of ``plain_gpt``. level: steps from 0 to the largest magnitude of a row, at most 127."""
    header = json.dumps(model.shape).encode()
    parts = [len(header).to_bytes(4, "little"), header]
    for tensor in model.state_dict().values():
        values = tensor.detach().float().cpu().numpy()
        if values.ndim < 2:
            parts.append(values.astype("<f2").tobytes())
            continue
        scales = (np.maximum(np.abs(values).max(axis=1), 1e-3) / level).astype("<f2")
        codes = np.rint(values / scales.astype(np.float32)[:, None]).clip(-127, 127).astype(np.int8)
        parts += [scales.tobytes(), np.ascontiguousarray(codes.T).tobytes()]
    return brotli.compress(b"".join(parts), quality=11, lgwin=24)


def fit(model: PlainGPT, limit_bytes: int) -> tuple[bytes, float]:
    """The file of at most ``limit_bytes`` with the finest steps, and its level; (b"", 0) if none fits."""
    low, low_data, high = -1, b"", len(_LEVELS)
    while high - low > 1:
        index = (low + high) // 2
        data = pack(model, _LEVELS[index])
        if len(data) <= limit_bytes:
            low, low_data = index, data
        else:
            high = index
    return low_data, _LEVELS[low] if low_data else 0.0


def choose(
    train_split: SplitData,
    vocab_size: int,
    limit_bytes: int,
    base: GptSettings,
    ctx: DistContext,
    dev_bpb: Callable[[PlainGPT], float],
) -> tuple[GptSettings, list[dict[str, float | None]]]:
    """The learning rate, then the width, best on dev after runs of ``base.seconds``, and the table of these runs."""
    widths, table = list_widths(vocab_size, limit_bytes), []

    def measure(settings: GptSettings) -> float:
        model, n_steps, _ = train(train_split.stream.tokens, vocab_size, settings, ctx)
        data, level = fit(model, limit_bytes)
        score = dev_bpb(plain_gpt.unpack(data)) if data else math.inf
        row = {"d_model": settings.d_model, "lr": settings.lr, "level": round(level, 2), "steps": n_steps}
        table.append(row | {"dev_bpb": score if data else None})
        return score

    candidates = [replace(base, d_model=widths[6], lr=lr) for lr in LEARNING_RATES]
    scores = {settings: measure(settings) for settings in candidates}
    best = min(scores, key=scores.__getitem__)
    scores |= {(other := replace(best, d_model=widths[bits])): measure(other) for bits in (4, 8)}
    return min(scores, key=scores.__getitem__), table
