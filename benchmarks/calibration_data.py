"""What a model tells of itself beside Hessians: text sampled from it, and covariances of gradients at its outputs."""

from collections.abc import Iterable

import torch

from golf.compression import quantized_tensor
from golf.model.gpt import GPT

__all__ = ["compute_output_covariances", "sample_windows"]


@torch.no_grad()
def sample_windows(model: GPT, rows: int, length: int) -> torch.Tensor:
    """Token windows sampled from the model at temperature 1, from BOS, with a cache of keys and values.

    A recurrent layer has one cache for each pass, in the order in which attention is called.
    """
    rng, attend, kv_cache, calls = torch.Generator().manual_seed(0), model.blocks[0].attn.attention_fn, [], []

    def cached_attention(q, k, v, _):
        call_index = len(calls)
        calls.append(call_index)
        if call_index == len(kv_cache):
            kv_cache.append((k, v))
        else:
            kv_cache[call_index] = tuple(
                torch.cat(pair, dim=1) for pair in zip(kv_cache[call_index], (k, v), strict=True)
            )
        return attend(q, *kv_cache[call_index], None)

    tables = model.rope_cos, model.rope_sin
    for block in model.blocks:
        block.attn.attention_fn = cached_attention
    tokens = torch.ones(rows, 1, dtype=torch.int64)
    for position in range(length - 1):
        model.rope_cos, model.rope_sin = (table[position : position + 1] for table in tables)
        calls.clear()
        logits = model.logits(model(tokens[:, -1:], recurrent=True))[:, -1]
        tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1, generator=rng)], dim=1)
    model.rope_cos, model.rope_sin = tables
    for block in model.blocks:
        block.attn.attention_fn = attend
    return tokens


def compute_output_covariances(model: GPT, names: Iterable[str], windows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Σ g gᵀ by tensor, over positions, per token of ``windows`` (int64 [N, L + 1]).

    g is the gradient at a layer's output, for targets sampled from the model.
    """
    sums, rng = {}, torch.Generator().manual_seed(0)
    for name in names:
        if name != quantized_tensor.EMBEDDING_WEIGHT:

            def accumulate(_, __, gradients, name=name):
                flat = gradients[0].flatten(0, -2)
                sums[name] = sums.get(name, 0) + flat.T @ flat

            model.get_submodule(name.removesuffix(".weight")).register_full_backward_hook(accumulate)
    for part in windows.split(8):
        logits = model.logits(model(part[:, :-1], recurrent=True)).flatten(0, 1)
        targets = torch.multinomial(logits.detach().softmax(-1), 1, generator=rng).flatten()
        torch.nn.functional.cross_entropy(logits, targets, reduction="sum").backward()
    n_tokens = windows[:, 1:].numel()
    return {name: total / n_tokens for name, total in sums.items()}
