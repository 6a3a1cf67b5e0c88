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

from golf.ground import lineage, store
from golf.ground.errors import BadArtifact, Diverged
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.quant import grid, kinds

KIND, TOKENS_KIND = "hessians", "tokens"
SHARED = ("c_q", "c_k", "c_v")  # siblings that read the same input


def source(tensor: str) -> str:
    """The name of a weight's input: its module's, or for what shares an input, the parent's.

    >>> source("blocks.0.attn.c_k.weight"), source("blocks.0.mlp.fc.weight"), source("tok_emb.weight")
    ('blocks.0.attn', 'blocks.0.mlp.fc', 'tok_emb')
    """
    module = tensor.removesuffix(".weight")
    parent, _, leaf = module.rpartition(".")
    return parent if leaf in SHARED else module


def inputs(state: dict[str, torch.Tensor], min_weights: int) -> dict[str, str]:
    """tensor -> the name of its input, for every tensor that is to be quantised."""
    return {
        name: source(name) for name, tensor in state.items() if kinds.kind(name, tensor.shape, min_weights) != "small"
    }


def collect(
    model: nn.Module,
    sources: dict[str, str],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    micro_rows: int,
    here: Runtime,
    progress: Progress | None = None,
    left_s: float | None = None,
    after: float = 0.0,
) -> tuple[dict[str, torch.Tensor], torch.Tensor, float]:
    """input name -> H fp32 [I, I] on the device; the tokens, uint16 [windows, context + 1] in their order; seconds.

    seconds: of the slowest rank, from the first batch to the sum over ranks; compiling comes before and sees no text.

    model: a GPT; called as model(x, looped=True), it gives the final norm's output, and its state dict's names are the
    keys of ``sources`` (see ``inputs``). batches: this rank's (x, y), int64 [rows, context], y one token after x; rank
    r of n has windows r, r + n, …. Sums and tokens are over all ranks. left_s: what the clock still allows (None: any);
    no batch but the first is begun that would overshoot it if it took as long as the slowest so far, with ``after``
    times that for the work that follows.
    Raises Diverged, naming the tensor, when a Hessian is not finite.
    """
    readers = {}
    for tensor, name in sources.items():
        readers.setdefault(name, tensor)
    columns = {name: model.get_parameter(tensor).shape[1] for name, tensor in readers.items()}
    sums = {name: torch.zeros(width, width, device=here.device) for name, width in columns.items()}
    seen = []

    def watch(name: str):
        return lambda _, read: add(sums[name], read[0])

    head = source(grid.EMBED)
    with ExitStack() as hooks, torch.no_grad():
        for name, tensor in readers.items():
            if name != head:
                module = model.get_submodule(tensor.removesuffix(".weight"))
                hooks.callback(module.register_forward_pre_hook(watch(name)).remove)
        forward = here.compiled(lambda x: model(x, looped=True))
        if here.compile:
            with here.autocast():
                forward(torch.zeros(micro_rows, model.shape.context, dtype=torch.int64, device=here.device))
            for h_II in sums.values():
                h_II.zero_()
        began = time.perf_counter()
        lap, slowest = began, 0.0
        for x, y in batches:
            for part in x.split(micro_rows):
                with here.autocast():
                    hidden = forward(part)
                if head in sums:
                    add(sums[head], hidden)
            seen.append(gathered(torch.cat([x, y[:, -1:]], dim=1), here))
            if progress:
                progress.update(len(seen), tokens=f"{sum(windows[:, 1:].numel() for windows in seen):,}")
            if left_s is not None:
                before, lap = lap, time.perf_counter()
                slowest = max(slowest, here.agree(lap - before))
                if here.agree(lap - began) + slowest * (1 + after) > left_s:
                    break
    for name in sorted(sums, key=head.__eq__):  # the head last, as it sees what went wrong anywhere
        if not here.sum(sums[name]).isfinite().all():
            raise Diverged(f"{readers[name]}: the Hessian of its input is not finite; the weights blow up, train again")
    return sums, torch.cat(seen), here.agree(time.perf_counter() - began)


def stopped(taken: int, asked: int, limit_s: float | None) -> str:
    """What to say of a calibration that took fewer batches than it was asked to; nothing of another."""
    if taken == asked:
        return ""
    return f"; stopped after {taken} of {asked} batches, as the next could overshoot train.limit_s = {limit_s:g} s"


def add(h_II: torch.Tensor, x: torch.Tensor) -> None:
    """In place: h += xᵀx in fp32 (in TF32 on a GPU that works in bf16), whatever the precision around it."""
    with torch.autocast(h_II.device.type, enabled=False):
        x_NI = x.detach().flatten(0, -2).float()
        h_II.addmm_(x_NI.T, x_NI)


def gathered(windows: torch.Tensor, here: Runtime) -> torch.Tensor:
    """uint16, on the CPU: all ranks' windows, in the order of the global batch."""
    whole = windows.new_zeros(windows.shape[0] * here.ranks, windows.shape[1])
    whole[here.rank :: here.ranks] = windows
    return here.sum(whole).cpu().to(torch.uint16)


def save(path, hessians: dict[str, torch.Tensor], sources: dict[str, str], *, tokens: int, **meta) -> None:
    """Write Hessians, who reads what, and from how many tokens they are. meta: the model's shape and the lineage."""
    store.save_tensors(path, hessians, kind=KIND, meta={"inputs": sources, "tokens": tokens, **meta})


def measured_on(weights, meta: dict, path) -> None:
    """Raises BadArtifact unless ``path``, whose meta this is, was measured on the file of weights."""
    measured = lineage.check(meta.get("lineage"), path)["inputs"].get("weights", {})
    if measured.get("sha256") != lineage.file_digest(weights):
        raise BadArtifact(path, f"was measured on other weights than {weights}", "run calibrate again")


def load(path, sources: dict[str, str], weights) -> dict[str, torch.Tensor]:
    """input name -> H. weights: the file that is to be quantised, which must be the one that was calibrated.

    Raises BadArtifact: damaged, of other weights, or without the Hessian of a tensor named in ``sources``.
    """
    hessians, meta = store.load_tensors(path, kind=KIND)
    measured_on(weights, meta, path)
    missing = [tensor for tensor, name in sources.items() if meta["inputs"].get(tensor) != name or name not in hessians]
    if missing:
        raise BadArtifact(path, f"holds no Hessian for {', '.join(missing)}", "run calibrate again")
    return hessians
