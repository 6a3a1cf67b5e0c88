"""Collect the Hessians of GPTQ: H = Σ xᵀx over the calibration tokens that a layer reads, with recurrence active.

There is one H for each distinct input: c_q, c_k and c_v of a layer share one. A layer that runs several times adds up
all its passes. The tied embedding is quantized for its role as the output head, so its input is the final norm's
output. The sum runs over all ranks, unlike the record's (docs/references.md#hessians).
"""

# N tokens of a micro-batch, I input features

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from golf.artifacts import io, lineage
from golf.compression.quantized_tensor import EMBEDDING_WEIGHT
from golf.distributed.context import DistContext
from golf.errors import ArtifactError, DivergenceError
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress, log_compiling
from golf.quantization import param_kinds

__all__ = [
    "SEED_OFFSET",
    "TOKENS_KIND",
    "collect_hessians",
    "get_input_name",
    "load",
    "make_early_stop_note",
    "map_quantized_inputs",
    "require_same_weights",
    "save",
]

SEED_OFFSET = 1  # with training's own seed, calibration would see training's first windows again
_KIND, TOKENS_KIND = "hessians", "tokens"
_QKV_MODULES = ("c_q", "c_k", "c_v")  # siblings that read the same input


def get_input_name(tensor_name: str) -> str:
    """Return the name of a weight's input: its module's name, or the parent's where siblings share the input.

    >>> get_input_name("blocks.0.attn.c_k.weight"), get_input_name("tok_emb.weight")
    ('blocks.0.attn', 'tok_emb')
    """
    module = tensor_name.removesuffix(".weight")
    parent, _, leaf = module.rpartition(".")
    return parent if leaf in _QKV_MODULES else module


def map_quantized_inputs(state_dict: dict[str, torch.Tensor], min_weights: int) -> dict[str, str]:
    """Return a mapping from the name of each tensor that is to be quantized to the name of its input."""
    return {
        name: get_input_name(name)
        for name, tensor in state_dict.items()
        if param_kinds.get_param_kind(name, tensor.shape, min_weights) != "small"
    }


def collect_hessians(
    model: GPT,
    inputs: dict[str, str],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    micro_rows: int,
    ctx: DistContext,
    progress: Progress | None = None,
    time_left_s: float | None = None,
    followup_batches: float = 0.0,
) -> tuple[dict[str, torch.Tensor], torch.Tensor, float]:
    """Run the model over calibration batches.

    Returns H by input name, fp32 [I, I] on the device and summed over ranks; the tokens of all ranks, uint16
    [windows, context_length + 1] in the order of the global batch; and the seconds of the slowest rank, from the first
    batch to the sum over ranks. Compilation comes before that and sees no text.

    inputs: from ``map_quantized_inputs``. batches: this rank's (x, y), int64 [rows, context_length] with y one token
    after x; rank r of n has windows r, r + n, …. micro_rows: windows of a forward pass. time_left_s: seconds that
    training's limit still allows, None for no limit. Another batch starts only if it fits, assuming that it takes as
    long as the slowest so far and that the work afterwards takes ``followup_batches`` times that; the first batch
    always runs.
    Raises DivergenceError, naming a tensor, when a Hessian is not finite.
    """
    first_reader: dict[str, str] = {}
    for tensor_name, name in inputs.items():
        first_reader.setdefault(name, tensor_name)
    n_columns = {name: model.get_parameter(tensor_name).shape[1] for name, tensor_name in first_reader.items()}
    hessians = {name: torch.zeros(width, width, device=ctx.device) for name, width in n_columns.items()}
    token_windows: list[torch.Tensor] = []

    layer_progress = None if ctx.compile else progress  # a compiled graph writes no lines

    def make_hook(name: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def hook(_: Any, args: tuple[torch.Tensor, ...]) -> None:
            _accumulate_hessian(hessians[name], args[0])
            if layer_progress:
                layer_progress.update(len(token_windows), input=name)

        return hook

    head_input = get_input_name(EMBEDDING_WEIGHT)
    with ExitStack() as hooks, torch.no_grad():
        for name, tensor_name in first_reader.items():
            if name != head_input:
                module = model.get_submodule(tensor_name.removesuffix(".weight"))
                hooks.callback(module.register_forward_pre_hook(make_hook(name)).remove)
        forward = ctx.maybe_compile(lambda x: model(x, recurrent=True))
        if ctx.compile:
            log_compiling("calibrate", ctx, ", not counted as training time")
            with ctx.autocast():
                forward(torch.zeros(micro_rows, model.cfg.context_length, dtype=torch.int64, device=ctx.device))
            for h_II in hessians.values():
                h_II.zero_()
        start_time = time.perf_counter()
        current_time, slowest_s = start_time, 0.0
        for x, y in batches:
            for micro_batch in x.split(micro_rows):
                with ctx.autocast():
                    hidden = forward(micro_batch)
                if head_input in hessians:
                    _accumulate_hessian(hessians[head_input], hidden)
            token_windows.append(_gather_windows(torch.cat([x, y[:, -1:]], dim=1), ctx))
            if progress:
                n_tokens = sum(windows[:, 1:].numel() for windows in token_windows)
                progress.update(len(token_windows), tokens=f"{n_tokens:,}")
            if time_left_s is not None:
                previous_time, current_time = current_time, time.perf_counter()
                slowest_s = max(slowest_s, ctx.all_reduce_max(current_time - previous_time))
                if ctx.all_reduce_max(current_time - start_time) + slowest_s * (1 + followup_batches) > time_left_s:
                    break
    # The head comes last: it sees every earlier layer's overflow, and the first tensor to blame should be named.
    for name in sorted(hessians, key=lambda name: name == head_input):
        if not ctx.all_reduce(hessians[name]).isfinite().all():
            raise DivergenceError(
                f"{first_reader[name]}: the Hessian of its input is not finite, so the weights have diverged; retrain "
                "with lower learning rates"
            )
    return hessians, torch.cat(token_windows), ctx.all_reduce_max(time.perf_counter() - start_time)


def make_early_stop_note(n_batches: int, n_requested: int, limit_s: float | None) -> str:
    """Return a note for the progress line of a calibration of fewer batches than requested; empty for any other."""
    if n_batches == n_requested:
        return ""
    limit = f"train.limit_s = {limit_s:g} s"
    return f"; stopped after {n_batches} of {n_requested} batches, since another could exceed {limit}"


def _accumulate_hessian(h_II: torch.Tensor, x: torch.Tensor) -> None:
    """h += xᵀx in place, in fp32 whatever autocast says (in TF32 on a GPU that works in bf16)."""
    with torch.autocast(h_II.device.type, enabled=False):
        x_NI = x.detach().flatten(0, -2).float()
        h_II.addmm_(x_NI.T, x_NI)


def _gather_windows(windows: torch.Tensor, ctx: DistContext) -> torch.Tensor:
    """All ranks' windows in the order of the global batch, uint16 on the CPU."""
    all_windows = windows.new_zeros(windows.shape[0] * ctx.world_size, windows.shape[1])
    all_windows[ctx.rank :: ctx.world_size] = windows
    return ctx.all_reduce(all_windows).cpu().to(torch.uint16)


def save(
    path: str | Path, hessians: dict[str, torch.Tensor], inputs: dict[str, str], *, n_tokens: int, **metadata: Any
) -> None:
    """Write Hessians with which tensor reads which input, the number of tokens, and ``metadata`` with the lineage."""
    io.save_tensors(path, hessians, kind=_KIND, meta={"inputs": inputs, "tokens": n_tokens, **metadata})


def require_same_weights(weights_path: str | Path, metadata: dict[str, Any], path: str | Path) -> None:
    """Raise ArtifactError unless ``path``, whose metadata this is, was measured on the file ``weights_path``."""
    weights_record = lineage.validate(metadata.get("lineage"), path)["inputs"].get("weights", {})
    if weights_record.get("sha256") != lineage.hash_artifact(weights_path):
        raise ArtifactError(path, f"was measured on other weights than {weights_path}")


def load(path: str | Path, inputs: dict[str, str], weights_path: str | Path) -> dict[str, torch.Tensor]:
    """Return H by input name. weights_path: the file that is to be quantized.

    Raises ArtifactError: damaged, measured on other weights, or without the Hessian of a tensor in ``inputs``.
    """
    hessians, metadata = io.load_tensors(path, kind=_KIND)
    require_same_weights(weights_path, metadata, path)
    missing = [
        tensor_name
        for tensor_name, name in inputs.items()
        if metadata["inputs"].get(tensor_name) != name or name not in hessians
    ]
    if missing:
        raise ArtifactError(path, f"holds no Hessian for {', '.join(missing)}")
    return hessians
