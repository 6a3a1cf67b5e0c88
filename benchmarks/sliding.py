"""Sliding windows against the record's form of them: seconds and equal nats. ``python benchmarks/sliding.py --help``

The record's form (record-stack 1.7) is written here from its description: every block, the head and the cross-entropy
at every position of every window, of which all but the last ``stride`` are thrown away. Ours runs the last block's
queries, its MLP, the head and the cross-entropy at the scored positions only. Both are compiled, in fp32, over the same
windows.
"""

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from golf.ground import runtime, store
from golf.ground.shape import Shape
from golf.model.gpt import GPT
from golf.score.scorer import Scorer
from golf.score.windows import plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--stride", type=int, default=64)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--rows", type=int, default=8, help="windows at a time (8)")
    parser.add_argument("--repeat", type=int, default=3, help="turns of each side; the fastest counts (3)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--eager", action="store_true", help="compile neither side")
    parser.add_argument("--json", help="also write the figures here")
    asked = parser.parse_args()
    row = compare(asked)
    print(
        f"{row['threads']} threads, {asked.layers} layers of {asked.width}, V {asked.vocabulary}, "
        f"context {asked.context}, stride {asked.stride}, "
        f"{asked.windows} windows, {'eager' if asked.eager else 'compiled'}: "
        f"record {row['record_s']:.2f} s, ours {row['ours_s']:.2f} s, ratio {row['ratio']:.2f}, "
        f"nll differs by at most {row['nll_difference']:.1e}"
    )
    if asked.json:
        store.write_json(asked.json, row)


def compare(asked) -> dict:
    shape = Shape(
        vocabulary=asked.vocabulary,
        layers=asked.layers,
        width=asked.width,
        heads=asked.width // 64,
        kv_heads=asked.width // 128,
        mlp_width=4 * asked.width,
        context=asked.context,
        rope_dims=16,
        rope_base=10000.0,
        qk_gain=5.25,
        leaky_slope=0.5,
        softcap=30.0,
        embed_std=0.005,
        loop_start=asked.layers // 3,
        loop_end=asked.layers // 3 + 1,
        loop_passes=2,
        parallel_from=asked.layers - 2,
        xsa_from=0,
    )
    generator = torch.Generator().manual_seed(0)
    model = GPT(shape).initialise(generator).to(asked.device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(asked.device) * 0.02)
    length = asked.context + (asked.windows - 1) * asked.stride
    stream = np.random.default_rng(0).integers(0, asked.vocabulary, length + 1).astype(np.uint16)
    here = runtime.Runtime(0, 1, torch.device(asked.device), torch.float32, not asked.eager, "sdpa")
    scorer = Scorer(model, here, score_tokens=asked.rows * asked.context)
    whole = here.compiled(lambda x, y: record_nll(model, x, y))

    def ours():
        return scorer.score(stream[:1], stream[1:], stride=asked.stride)

    def theirs():
        return record(whole, stream, asked)

    difference = float(np.abs(ours() - theirs()).max())  # compiles both
    seconds = {"record_s": math.inf, "ours_s": math.inf}
    for _ in range(asked.repeat):
        for name, side in (("record_s", theirs), ("ours_s", ours)):
            start = time.perf_counter()
            side()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return {
        **vars(asked),
        **seconds,
        "threads": torch.get_num_threads(),
        "ratio": seconds["record_s"] / seconds["ours_s"],
        "nll_difference": difference,
    }


def record_nll(model: GPT, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    logits = model.logits(model(x, looped=True))
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(y)


@torch.no_grad()
def record(whole, stream: np.ndarray, asked) -> np.ndarray:
    """Windows in batches, every position computed, the scored ones kept."""
    tokens = torch.from_numpy(stream.astype(np.int64)).to(asked.device)
    windows = plan(0, len(stream) - 1, context=asked.context, stride=asked.stride)
    found = []
    for i in range(0, len(windows), asked.rows):
        batch = windows[i : i + asked.rows]
        x = torch.stack([tokens[w.start : w.start + asked.context] for w in batch])
        y = torch.stack([tokens[w.start + 1 : w.start + asked.context + 1] for w in batch])
        nll = whole(x, y)
        found += [nll[row, w.first - w.start : w.stop - w.start] for row, w in enumerate(batch)]
    return torch.cat(found).cpu().numpy()


if __name__ == "__main__":
    main()
