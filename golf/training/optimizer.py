"""Parameter groups (Muon for matrices, AdamW for the rest) and the distributed optimizer step.

The groups and their rates are those of PR #1493 (docs/references.md#adamw).
"""

import math

import torch

from golf.config.training import TrainConfig
from golf.distributed.context import DistContext
from golf.model.gpt import GPT
from golf.training import schedule
from golf.training.ema_nesterov import EMANesterov
from golf.training.muon import Muon, load_into

__all__ = ["MuonAdamW", "get_param_group", "group_parameters"]


def group_parameters(model: GPT) -> dict[str, dict[str, torch.nn.Parameter]]:
    """Return the parameters by group and name.

    embed: the tied embedding; matrix: 2-D weights inside blocks; scalar: gains, scales, mixes and skips.
    """
    grouped: dict[str, dict[str, torch.nn.Parameter]] = {"embed": {}, "matrix": {}, "scalar": {}}
    for name, parameter in model.named_parameters():
        grouped[get_param_group(name)][name] = parameter
    return grouped


def get_param_group(name: str) -> str:
    """Return the group of a parameter by its name; every name has one."""
    if name == "tok_emb.weight":
        return "embed"
    return "matrix" if name.startswith("blocks.") and name.endswith(".weight") else "scalar"


class MuonAdamW:
    """One optimizer over the three groups. Each rank has gradients of its own; all ranks end with equal weights.

    Before the first step it has no state.
    """

    def __init__(self, model: GPT, cfg: TrainConfig, ctx: DistContext) -> None:
        grouped = group_parameters(model)
        self.cfg, self._ctx = cfg, ctx
        self._muon = Muon(grouped["matrix"], cfg, ctx)
        self._adamw_params = grouped["embed"] | grouped["scalar"]
        self._adamw = torch.optim.AdamW(
            [
                {"params": list(grouped["embed"].values()), "lr": cfg.embed_lr, "weight_decay": cfg.embed_weight_decay},
                {
                    "params": list(grouped["scalar"].values()),
                    "lr": cfg.scalar_lr,
                    "weight_decay": cfg.scalar_weight_decay,
                },
            ],
            betas=(cfg.beta1, cfg.beta2),
            eps=cfg.eps,
            fused=True,
        )
        self._base_rates = [(group["lr"], group["weight_decay"]) for group in self._adamw.param_groups]
        self._nesterov = None
        if cfg.ema_nesterov_beta is not None:
            self._nesterov = EMANesterov(dict(model.named_parameters()), cfg.ema_nesterov_beta, cfg.ema_nesterov_gamma)

    def look_ahead(self, lr_multiplier: float) -> None:
        """Move the weights to where the next step takes its gradient; only EMA-Nesterov does."""
        if self._nesterov is not None:
            self._nesterov.look_ahead(lr_multiplier)

    def step(
        self, step_index: int, lr_multiplier: float, loss: torch.Tensor, decay_multiplier: float = 1.0
    ) -> torch.Tensor:
        """Make step ``step_index`` (from 0) with the learning rates and the weight decays times their multipliers.

        The ranks' gradients sum to the global batch's. ``loss`` is this rank's share and becomes the sum over ranks.
        Returns the norm of the summed gradient, by which every rank clips alike (docs/references.md#grad-clip). The
        small AdamW gradients are sent first, then Muon's bank by bank; AdamW runs while Muon's updates travel. On a GPU
        the host waits for none of it.
        """
        cfg = self.cfg
        gradients = [parameter.grad for parameter in self._adamw_params.values() if parameter.grad is not None]
        wait_reduced = self._ctx.all_reduce_coalesced_async([*gradients, loss])
        self._muon.start_reduce_scatter()
        wait_reduced()
        device = self._ctx.device
        grad_norm = (
            self._ctx.all_reduce(_sum_of_squares(self._muon.wait_local_grads(), device))
            + _sum_of_squares(gradients, device)
        ).sqrt()
        clip_scale = ((cfg.grad_clip or math.inf) / (grad_norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
        torch._foreach_mul_(gradients, clip_scale)
        momentum = schedule.compute_muon_momentum(
            step_index,
            start=cfg.muon_momentum_start,
            end=cfg.muon_momentum,
            warmup_steps=cfg.muon_momentum_warmup_steps,
        )
        self._muon.compute_updates(clip_scale, momentum)
        for group, (base_lr, base_decay) in zip(self._adamw.param_groups, self._base_rates, strict=True):
            group["lr"], group["weight_decay"] = base_lr * lr_multiplier, base_decay * decay_multiplier
        if cfg.decay_schedule == "cautious":
            self._step_adamw_cautiously()
        else:
            self._adamw.step()
        self._muon.apply_updates(cfg.muon_lr * lr_multiplier, decay_multiplier)
        if self._nesterov is not None:
            self._nesterov.finish_step()
        return grad_norm

    @torch.no_grad()
    def _step_adamw_cautiously(self) -> None:
        """AdamW that decays a weight only where its update moves it toward 0 (docs/references.md#cautious-decay)."""
        decays = [group["weight_decay"] for group in self._adamw.param_groups]
        before: dict[torch.Tensor, torch.Tensor] = {}
        for group in self._adamw.param_groups:
            before |= {p: p.detach().clone() for p in group["params"] if p.grad is not None}
            group["weight_decay"] = 0.0
        self._adamw.step()
        for group, decay in zip(self._adamw.param_groups, decays, strict=True):
            for parameter in (p for p in group["params"] if p in before):
                is_shrinking = before[parameter] * self._adamw.state[parameter]["exp_avg"] >= 0
                parameter.sub_(torch.where(is_shrinking, group["lr"] * decay * before[parameter], 0))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return this rank's state, not copied, as ``muon/<parameter>/<kind>`` and ``adamw/<parameter>/<kind>``.

        EMA-Nesterov adds ``nesterov/<parameter>``.
        """
        adamw_state = {
            f"adamw/{name}/{kind}": tensor
            for name, parameter in self._adamw_params.items()
            for kind, tensor in self._adamw.state.get(parameter, {}).items()
        }
        drift = {} if self._nesterov is None else self._nesterov.drift
        return self._muon.state_dict() | adamw_state | {f"nesterov/{name}": tensor for name, tensor in drift.items()}

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Restore what ``state_dict`` returned on this rank, bit for bit; {} is the state before the first step.

        Raises ValueError unless it is the state of this model on this rank with these training parameters.
        """
        prefixes = ("muon/", "adamw/", "nesterov/")
        by_prefix = {prefix: {n: t for n, t in state_dict.items() if n.startswith(prefix)} for prefix in prefixes}
        if unknown := {name for name in state_dict if not name.startswith(prefixes)}:
            raise ValueError(f"optimizer state: unknown {min(unknown)}")
        self._load_drift(by_prefix["nesterov/"])
        self._muon.load_state_dict(by_prefix["muon/"])
        names = [name for name in self._adamw_params if f"adamw/{name}/step" in state_dict]
        states = {name: self._init_adamw_state(self._adamw_params[name]) for name in names}
        load_into(
            {f"adamw/{name}/{kind}": tensor for name, state in states.items() for kind, tensor in state.items()},
            by_prefix["adamw/"],
        )
        self._adamw.state.clear()
        self._adamw.state.update({self._adamw_params[name]: kinds for name, kinds in states.items()})

    def _load_drift(self, saved: dict[str, torch.Tensor]) -> None:
        drift = self._nesterov.init_drift() if self._nesterov is not None and saved else {}
        load_into({f"nesterov/{name}": tensor for name, tensor in drift.items()}, saved)
        if self._nesterov is not None:
            self._nesterov.drift = drift

    def _init_adamw_state(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """Return the state that fused AdamW creates at its first step."""
        step = torch.zeros((), device=self._ctx.device)
        return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


def _sum_of_squares(gradients: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Return the sum of all squares, an fp32 scalar; 0 without gradients, as a rank may own no matrix."""
    if not gradients:
        return torch.zeros((), device=device)
    return torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32)).square().sum()
