"""Plain bpb of full-precision weights, without a ledger or a sandbox: how the ema stage compares weights on dev."""

from collections.abc import Callable

import numpy as np
import torch

from golf.config.model import ModelConfig
from golf.data.eval_stream import EvalStream
from golf.distributed.context import DistContext
from golf.inference.scorer import Scorer
from golf.model.gpt import GPT


def make_plain_bpb_fn(
    stream: EvalStream, model_cfg: ModelConfig, ctx: DistContext, *, eval_batch_tokens: int
) -> Callable[..., float]:
    """Return ``compute_plain_bpb(state_dict, recurrent=True)``, which scores ``stream`` in windows of the context.

    One model and one compiled graph serve all calls. recurrent: whether depth recurrence is active.
    """
    model = GPT(model_cfg, ctx.attention).to(ctx.device)
    scorers = {
        recurrent: Scorer(model, ctx, eval_batch_tokens=eval_batch_tokens, recurrent=recurrent)
        for recurrent in (True, False)
    }

    def compute_plain_bpb(state_dict: dict[str, torch.Tensor], recurrent: bool = True) -> float:
        model.load_state_dict(state_dict)
        nll = scorers[recurrent].score(stream.tokens[:1], stream.tokens[1:], stride=model_cfg.context_length)
        return float(nll.sum(dtype=np.float64) / np.log(2) / stream.target_bytes.sum(dtype=np.int64))

    return compute_plain_bpb
