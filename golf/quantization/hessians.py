"""What quantised layers read: H = Σ xᵀx over calibration tokens, with the loop active (record-stack 1.5).

One H for each distinct input: c_q, c_k and c_v of a layer read the same one. A looped layer adds up all its passes.
The tied embedding is quantised as the output head that it also is, so its input is the final norm's output. Unlike the
record (record-stack 5.1, item 3) the sum runs over all ranks.
"""

# N tokens of a micro-batch, I input features

import time
from collections.abc import Iterable
from contextlib import ExitStack

import torch
from torch import nn

from golf.artifacts import io, lineage
from golf.compression import quantized_tensor
from golf.distributed.context import DistContext
from golf.errors import ArtifactError, DivergenceError
from golf.pipeline.progress import Progress
from golf.quantization import param_kinds

_KIND, TOKENS_KIND = "hessians", "tokens"
_QKV_MODULES = ("c_q", "c_k", "c_v")  # siblings that read the same input


def input_name(tensor_name: str) -> str:
    """The name of a weight's input: its module's, or for what shares an input, the parent's.

    >>> source("blocks.0.attn.c_k.weight"), source("blocks.0.mlp.fc.weight"), source("tok_emb.weight")
    ('blocks.0.attn', 'blocks.0.mlp.fc', 'tok_emb')
    """
    module = tensor_name.removesuffix(".weight")
    parent, _, leaf = module.rpartition(".")
    return parent if leaf in _QKV_MODULES else module


def quantized_inputs(state_dict: dict[str, torch.Tensor], min_weights: int) -> dict[str, str]:
    """tensor -> the name of its input, for every tensor that is to be quantised."""
    return {
        name: input_name(name)
        for name, tensor in state_dict.items()
        if param_kinds.param_kind(name, tensor.shape, min_weights) != "small"
    }


def collect_hessians(
    model: nn.Module,
    inputs: dict[str, str],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    micro_rows: int,
    ctx: DistContext,
    progress: Progress | None = None,
    time_left_s: float | None = None,
    followup_batches: float = 0.0,
) -> tuple[dict[str, torch.Tensor], torch.Tensor, float]:
    """input name -> H fp32 [I, I] on the device; the tokens, uint16 [windows, context + 1] in their order; seconds.

    seconds: of the slowest rank, from the first batch to the sum over ranks; compiling comes before and sees no text.

    model: a GPT; called as model(x, recurrent=True), it gives the final norm's output, and its state dict's names are the
    keys of ``sources`` (see ``inputs``). batches: this rank's (x, y), int64 [rows, context], y one token after x; rank
    r of n has windows r, r + n, …. Sums and tokens are over all ranks. left_s: what the clock still allows (None: any);
    no batch but the first is begun that would overshoot it if it took as long as the slowest so far, with ``after``
    times that for the work that follows.
    Raises Diverged, naming the tensor, when a Hessian is not finite.
    """
    first_reader = {}
    for tensor, name in inputs.items():
        first_reader.setdefault(name, tensor)
    n_columns = {name: model.get_parameter(tensor).shape[1] for name, tensor in first_reader.items()}
    hessians = {name: torch.zeros(width, width, device=ctx.device) for name, width in n_columns.items()}
    token_windows = []

    def make_hook(name: str):
        return lambda _, read: _accumulate_hessian(hessians[name], read[0])

    head_input = input_name(quantized_tensor.EMBEDDING_WEIGHT)
    with ExitStack() as hooks, torch.no_grad():
        for name, tensor in first_reader.items():
            if name != head_input:
                module = model.get_submodule(tensor.removesuffix(".weight"))
                hooks.callback(module.register_forward_pre_hook(make_hook(name)).remove)
        forward = ctx.maybe_compile(lambda x: model(x, recurrent=True))
        if ctx.compile:
            with ctx.autocast():
                forward(torch.zeros(micro_rows, model.shape.context, dtype=torch.int64, device=ctx.device))
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
                progress.update(
                    len(token_windows), tokens=f"{sum(windows[:, 1:].numel() for windows in token_windows):,}"
                )
            if time_left_s is not None:
                previous_time, current_time = current_time, time.perf_counter()
                slowest_s = max(slowest_s, ctx.all_reduce_max(current_time - previous_time))
                if ctx.all_reduce_max(current_time - start_time) + slowest_s * (1 + followup_batches) > time_left_s:
                    break
    for name in sorted(hessians, key=head_input.__eq__):  # the head last, as it sees what went wrong anywhere
        if not ctx.all_reduce(hessians[name]).isfinite().all():
            raise DivergenceError(
                f"{first_reader[name]}: the Hessian of its input is not finite; the weights blow up, train again"
            )
    return hessians, torch.cat(token_windows), ctx.all_reduce_max(time.perf_counter() - start_time)


def early_stop_note(n_batches: int, n_requested: int, limit_s: float | None) -> str:
    """What to say of a calibration that took fewer batches than it was asked to; nothing of another."""
    if n_batches == n_requested:
        return ""
    return f"; stopped after {n_batches} of {n_requested} batches, as the next could overshoot train.limit_s = {limit_s:g} s"


def _accumulate_hessian(h_II: torch.Tensor, x: torch.Tensor) -> None:
    """In place: h += xᵀx in fp32 (in TF32 on a GPU that works in bf16), whatever the precision around it."""
    with torch.autocast(h_II.device.type, enabled=False):
        x_NI = x.detach().flatten(0, -2).float()
        h_II.addmm_(x_NI.T, x_NI)


def _gather_windows(windows: torch.Tensor, ctx: DistContext) -> torch.Tensor:
    """uint16, on the CPU: all ranks' windows, in the order of the global batch."""
    all_windows = windows.new_zeros(windows.shape[0] * ctx.world_size, windows.shape[1])
    all_windows[ctx.rank :: ctx.world_size] = windows
    return ctx.all_reduce(all_windows).cpu().to(torch.uint16)


def save(path, hessians: dict[str, torch.Tensor], inputs: dict[str, str], *, n_tokens: int, **metadata) -> None:
    """Write Hessians, who reads what, and from how many tokens they are. meta: the model's shape and the lineage."""
    io.save_tensors(path, hessians, kind=_KIND, meta={"inputs": inputs, "tokens": n_tokens, **metadata})


def require_same_weights(weights_path, metadata: dict, path) -> None:
    """Raises BadArtifact unless ``path``, whose meta this is, was measured on the file of weights."""
    weights_record = lineage.validate(metadata.get("lineage"), path)["inputs"].get("weights", {})
    if weights_record.get("sha256") != lineage.artifact_sha256(weights_path):
        raise ArtifactError(path, f"was measured on other weights than {weights_path}", "run calibrate again")


def load(path, inputs: dict[str, str], weights_path) -> dict[str, torch.Tensor]:
    """input name -> H. weights: the file that is to be quantised, which must be the one that was calibrated.

    Raises BadArtifact: damaged, of other weights, or without the Hessian of a tensor named in ``sources``.
    """
    hessians, metadata = io.load_tensors(path, kind=_KIND)
    require_same_weights(weights_path, metadata, path)
    missing = [
        tensor for tensor, name in inputs.items() if metadata["inputs"].get(tensor) != name or name not in hessians
    ]
    if missing:
        raise ArtifactError(path, f"holds no Hessian for {', '.join(missing)}", "run calibrate again")
    return hessians
