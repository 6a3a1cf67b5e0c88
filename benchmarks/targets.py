"""Other targets for the column grid against the grid as built, at equal bits: ``targets.py ARTIFACTS``

Each variant quantises the same weights at two levels; told is its divergence KL(trained ‖ quantised) in nats a token on
windows of val, and that divergence over the grid's own at equal bits a weight (of the packed file, and what the variant
would store besides; moved along the grid's own two points). Under 1 it helps, and the seconds are those of calibration
time that it takes.

tensors          levels by tensor alone, not by row
flat embedding   the same for the embedding alone

sequential       each block's Hessians with the blocks before it quantised; a looped block is one, in all its passes
compensated      the same, and weights moved first by what quantised inputs lack: W Σ x x̂ᵀ (Σ x̂ x̂ᵀ + λ)⁻¹
own text         Hessians from as many tokens that the model itself draws (#1019), with a cache of keys and values
rescaled         columns times the factors of least output error, found together (after WaterSIC's LMMSE factors)
d^0.7            column steps to that power
low rank n       the best rank-n repair of the rounding error under the Hessian, in fp16 (LQER, arXiv:2402.02446)
both sides       rows that the loss minds together make up for each other as columns do, in 16 blocks (arXiv:2505.22988)
"""

import argparse
import dataclasses
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from finished import Finished

from golf.codec import packing
from golf.data import shards
from golf.ground import runtime, store
from golf.model.gpt import GPT
from golf.quant import codes, grid, hessian, solver
from golf.quant.columns import COLUMN_BITS, rounded
from golf.quant.gptq import Factor, gptq

LEVELS, DAMP, BLOCK, ROWS = (0.5, 0.9), 0.01, 128, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path, help="artifacts folders of finished runs")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=tuple(VARIANTS), metavar="VARIANT")
    parser.add_argument("--windows", type=int, default=128, help="of val that divergence is taken on")
    parser.add_argument("--json", help="also write the figures here")
    asked = parser.parse_args()
    found = {str(folder): compared(Lab(folder, asked.windows), asked.only) for folder in asked.artifacts}
    if asked.json:
        store.write_json(asked.json, {"threads": torch.get_num_threads(), "runs": found})


def compared(lab: "Lab", only) -> list[dict]:
    own = [lab.measured(lab.grid(level)) for level in LEVELS]
    fall = np.polyfit([bits for bits, _ in own], np.log([kl for _, kl in own]), 1)[0]  # nats of log KL a bit
    rows = []
    for name in only:
        began = time.perf_counter()
        for level, (bits0, kl0) in zip(LEVELS, own, strict=True):
            bits, kl = lab.measured(VARIANTS[name](lab, level))
            ratio = float(kl / (kl0 * np.exp(fall * (bits - bits0))))
            rows.append({"variant": name, "level": level, "bits": bits, "kl": kl, "ratio": ratio})
            print(f"{name:<14} level {level}   {bits:.4f} bits   KL {kl:.5f}   {ratio:.3f} of the grid's", flush=True)
        print(f"{'':<14} {time.perf_counter() - began:.0f} s")
    return rows


class Lab:
    """A finished run, and how far quantised weights take it from itself."""

    def __init__(self, folder: Path, windows: int):
        run = Finished.load(folder)
        self.state, self.hessians, self.minded = run.state, run.hessians, run.minded
        self.shape, self.inputs = run.shape, run.inputs
        self.small = {name: tensor.half().float() for name, tensor in run.small.items()}
        self.calibration = store.load_tensors(folder / "calibrate/tokens.safetensors")[0]["windows"].long()
        tokens = torch.from_numpy(shards.open_split(folder / "fetch/val").all().astype(np.int64))
        starts = torch.linspace(0, len(tokens) - self.shape.context - 1, windows).long()
        self.windows = torch.stack([tokens[a : a + self.shape.context] for a in starts])
        self.model = GPT(self.shape)
        self.trained = self.log_probabilities(self.state)
        self.ready = solver.batches(self.state, self.hessians, self.inputs, DAMP)
        self.columns = solver.columns_of(self.ready, self.state, self.minded)

    def log_probabilities(self, weights) -> list[torch.Tensor]:
        self.model.load_state_dict(weights)
        with torch.no_grad():
            parts = self.windows.split(16)
            return [self.model.logits(self.model(x, looped=True)).log_softmax(-1).half() for x in parts]

    def measured(self, found) -> tuple[float, float]:
        """(bits a weight, KL in nats a token). found: (codes, weights they stand for, bits beside the codes)."""
        quantized, weights, beside = found
        count = sum(pair.codes.numel() for pair in quantized.values())
        stored = codes.flatten(quantized, {})
        bits = 8 * len(packing.pack(stored, self.shape, seen=("train",), codec="entropy", quality=11)) + beside
        ours = self.log_probabilities({**self.state, **self.small, **weights})
        kl = 0.0
        for p, q in zip(self.trained, ours, strict=True):
            p = p.float()
            kl += float((p.exp() * (p - q.float())).sum())
        return bits / count, kl / self.windows.numel()

    def grid(self, level: float, ready=None, columns=None, state=None):
        quantized = solver.on_columns(ready or self.ready, state or self.state, columns or self.columns, level, BLOCK)
        return quantized, {name: grid.dequantize(pair) for name, pair in quantized.items()}, 0.0

    def with_hessians(self, hessians, level: float):
        ready = solver.batches(self.state, hessians, self.inputs, DAMP)
        return self.grid(level, ready, solver.columns_of(ready, self.state, self.minded))


def by_tensor(lab: Lab, level: float, only=None):
    means = {name: each.mean().expand_as(each) for name, each in lab.minded.items()}
    flat = means if only is None else lab.minded | {only: means[only]}
    return lab.grid(level, columns=solver.columns_of(lab.ready, lab.state, flat))


def sequential(lab: Lab, level: float, compensate: bool = False):
    state, found = {**lab.state, **lab.small}, {}
    groups = [[n for n in lab.inputs if n.startswith(f"blocks.{block}.")] for block in range(lab.shape.layers)]
    for group in (*groups, [grid.EMBED]):
        hessians, crossed = read_by(lab, state, group)
        moved = dict(lab.state)
        for name in group if compensate else ():
            h, cross = (each[lab.inputs[name]].double() for each in (hessians, crossed))
            h_damped = h + h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
            lacking = lab.state[name].double() @ (cross - h)
            moved[name] = (lab.state[name] + torch.linalg.solve(h_damped, lacking.T).T).float()
        ready = solver.batches(moved, hessians, {name: lab.inputs[name] for name in group}, DAMP)
        quantized, weights, _ = lab.grid(level, ready, state=moved)
        state |= weights
        found |= quantized
    return found, {name: grid.dequantize(pair) for name, pair in found.items()}, 0.0


def read_by(lab: Lab, state, group: list[str]):
    """(Σ x̂ x̂ᵀ, Σ x x̂ᵀ) by input: x̂ what ``group`` reads in a model of ``state``, x in the trained one."""
    models, reads = (GPT(lab.shape), GPT(lab.shape)), ({}, {})
    for model, weights, seen in zip(models, (lab.state, state), reads, strict=True):
        model.load_state_dict(weights)
        for name in {lab.inputs[name]: name for name in group if name != grid.EMBED}.values():
            module = model.get_submodule(name.removesuffix(".weight"))
            keep = seen.setdefault(lab.inputs[name], [])
            module.register_forward_pre_hook(lambda _, read, keep=keep: keep.append(read[0].flatten(0, -2)))
    hessians, crossed = {}, {}
    with torch.no_grad():
        for part in lab.calibration.split(16):
            for model, seen in zip(models, reads, strict=True):
                hidden = model(part[:, :-1], looped=True).flatten(0, -2)
                if grid.EMBED in group:
                    seen[lab.inputs[grid.EMBED]] = [hidden]
            for source in reads[0]:
                x, y = (torch.cat(seen[source]) for seen in reads)
                hessians[source] = hessians.get(source, 0) + y.T @ y
                crossed[source] = crossed.get(source, 0) + x.T @ y
                for seen in reads:
                    seen[source].clear()
    return hessians, crossed


def own_text(lab: Lab, level: float):
    if not hasattr(lab, "own"):
        model = GPT(lab.shape)
        model.load_state_dict(lab.state)
        began, windows = time.perf_counter(), drawn(model, *lab.calibration.shape)
        print(f"  {windows.numel():,} tokens drawn in {time.perf_counter() - began:.0f} s")
        batches = [(part[:, :-1], part[:, 1:]) for part in windows.split(16)]
        lab.own, _, _ = hessian.collect(model, lab.inputs, batches, micro_rows=16, here=runtime.alone())
    return lab.with_hessians(lab.own, level)


@torch.no_grad()
def drawn(model: GPT, rows: int, length: int) -> torch.Tensor:
    """Token windows that the model itself writes, at temperature 1, from its BOS; keys and values are kept.

    A looped layer keeps those of each pass, in the order in which attention is called.
    """
    dice, attend, kept, calls = torch.Generator().manual_seed(0), model.blocks[0].attn.attend, [], []

    def cached(q, k, v):
        at = len(calls)
        calls.append(at)
        if at == len(kept):
            kept.append((k, v))
        else:
            kept[at] = tuple(torch.cat(pair, dim=1) for pair in zip(kept[at], (k, v), strict=True))
        return attend(q, *kept[at])

    tables = model.rope_cos, model.rope_sin
    for block in model.blocks:
        block.attn.attend = cached
    tokens = torch.ones(rows, 1, dtype=torch.int64)
    for place in range(length - 1):
        model.rope_cos, model.rope_sin = (table[place : place + 1] for table in tables)
        calls.clear()
        logits = model.logits(model(tokens[:, -1:], looped=True))[:, -1]
        tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1, generator=dice)], dim=1)
    model.rope_cos, model.rope_sin = tables
    for block in model.blocks:
        block.attn.attend = attend
    return tokens


def rescaled(lab: Lab, level: float):
    """The factors g that make Σ_o a_o (w - q g) H (w - q g)ᵀ least: (QᵀAQ ∘ H) g = diag(QᵀAW H)."""
    quantized, weights, _ = lab.grid(level)
    beside = 0
    for name, q_OI in weights.items():
        h, q, w = (each.double() for each in (lab.hessians[lab.inputs[name]], q_OI, lab.state[name]))
        minded_O1 = lab.minded[name].double()[:, None]
        h = h + DAMP * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
        left, right = (q.T @ (minded_O1 * q)) * h, (q * (minded_O1 * w @ h)).sum(0)
        used = left.diagonal() > 0
        factors = torch.ones_like(right)
        factors[used] = torch.linalg.lstsq(left[used][:, used], right[used]).solution
        weights[name] = (q * factors).float()
        beside += 8 * len(factors)  # the byte that a column step's short mantissa leaves empty
    return quantized, weights, beside


def power(lab: Lab, level: float):
    columns = {}
    for name, steps_I in lab.columns.columns.items():
        columns[name] = rounded(steps_I.double() ** 0.7, COLUMN_BITS).half()
    return lab.grid(level, columns=dataclasses.replace(lab.columns, columns=columns))


def low_rank(lab: Lab, level: float, rank: int):
    quantized, weights, _ = lab.grid(level)
    beside = 0
    for name in quantized:
        h = lab.hessians[lab.inputs[name]].double()
        root = torch.linalg.cholesky(h + DAMP * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64))
        u, s, v = torch.linalg.svd((lab.state[name] - weights[name]).double() @ root, full_matrices=False)
        left, right = u[:, :rank] * s[:rank], torch.linalg.solve(root, v[:rank], left=False)
        weights[name] = weights[name] + left.half().float() @ right.half().float()
        beside += 16 * rank * sum(lab.state[name].shape)
    return quantized, weights, beside


def both_sides(lab: Lab, level: float):
    """tr(A E H Eᵀ) with the whole of A, the covariance of gradients at the outputs: rows in blocks, largest first."""
    if not hasattr(lab, "outputs"):
        lab.outputs = covariances(lab)
    blocks, minded = {}, dict(lab.minded)
    for name, a in lab.outputs.items():
        order = a.diagonal().argsort(descending=True)
        rest = a[order][:, order].double()
        rest += 0.02 * rest.diagonal().mean() * torch.eye(len(rest), dtype=torch.float64)
        own, parts = torch.zeros(len(a), dtype=torch.float64), []
        edges = [round(i * len(a) / ROWS) for i in range(ROWS + 1)]
        for start, end in reversed(list(itertools.pairwise(edges))):
            pull = torch.linalg.solve(rest[start:end, start:end], rest[start:end, :start])
            own[order[start:end]] = rest.diagonal()[start:end]
            parts.append((order[start:end], order[:start], pull.float()))
            rest = rest[:start, :start] - rest[:start, start:end] @ pull
        blocks[name], minded[name] = parts[::-1], own.float()
    columns, found = solver.columns_of(lab.ready, lab.state, minded), {}
    for batch in lab.ready:
        for i, (_, names) in enumerate(batch.members):
            alone = Factor(*(getattr(batch.factor, f.name)[i : i + 1] for f in dataclasses.fields(Factor)))
            for name in names:
                w, steps, across = lab.state[name], columns.rows(name, level), columns.columns[name]
                codes, lost = torch.zeros_like(w), torch.zeros_like(w)
                whole = [(torch.arange(len(w)), torch.arange(0), torch.zeros(len(w), 0))]
                for rows, before, pull in blocks.get(name, whole):
                    target = w[rows] + pull @ lost[before]
                    codes[rows] = gptq(target[None], alone, steps[rows][None], across[None], block=BLOCK)[0]
                    lost[rows] = w[rows] - codes[rows] * steps[rows].float()[:, None] * across.float()
                found[name] = grid.Quantized(solver.whole(name, codes), steps, across)
    return found, {name: grid.dequantize(pair) for name, pair in found.items()}, 0.0


def covariances(lab: Lab, windows: int = 64) -> dict[str, torch.Tensor]:
    """Σ g gᵀ over positions, g the gradient at a layer's output, for targets that the model draws."""
    model, sums, dice = GPT(lab.shape), {}, torch.Generator().manual_seed(0)
    model.load_state_dict(lab.state)
    for name in lab.inputs:
        if name != grid.EMBED:

            def add(_, __, gradients, name=name):
                flat = gradients[0].flatten(0, -2)
                sums[name] = sums.get(name, 0) + flat.T @ flat

            model.get_submodule(name.removesuffix(".weight")).register_full_backward_hook(add)
    for part in lab.calibration[:windows].split(8):
        logits = model.logits(model(part[:, :-1], looped=True)).flatten(0, 1)
        targets = torch.multinomial(logits.detach().softmax(-1), 1, generator=dice).flatten()
        torch.nn.functional.cross_entropy(logits, targets, reduction="sum").backward()
    tokens = windows * lab.shape.context
    return {name: total / tokens for name, total in sums.items()}


VARIANTS = {
    "tensors": by_tensor,
    "flat embedding": lambda lab, level: by_tensor(lab, level, only=grid.EMBED),
    "sequential": sequential,
    "compensated": lambda lab, level: sequential(lab, level, compensate=True),
    "own text": own_text,
    "rescaled": rescaled,
    "d^0.7": power,
    "low rank 1": lambda lab, level: low_rank(lab, level, 1),
    "low rank 4": lambda lab, level: low_rank(lab, level, 4),
    "both sides": both_sides,
}

if __name__ == "__main__":
    main()
