"""Pre-quantization training of the tiny model, and a slow reference of it."""

import copy
import dataclasses
import math

import torch

from golf.config.sections import PrequantTTTConfig
from golf.distributed import context
from golf.model.gpt import GPT
from golf.training import prequant_ttt
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.tiny_training import make_windows

BASE_CONFIG = PrequantTTTConfig(
    sync="sequential",
    epochs=3,
    lr=2e-3,
    lr_schedule="epoch",
    min_lr_frac=0.1,
    weight_decay=0.0,
    freeze_blocks=2,
    batch_tokens=64,  # two windows
    chunk_tokens=64,
    grad_clip=0.5,
    ema_decay=None,
)
CASES = {  # on seven windows, named by what makes each hard for ranks that must synchronize
    "batches that leave ranks empty": BASE_CONFIG,
    "chunks that no number of ranks divides": dataclasses.replace(BASE_CONFIG, sync="federated"),
    "an average over epochs": dataclasses.replace(BASE_CONFIG, sync="federated", ema_decay=0.7),
    "a rate that falls over the chunks": dataclasses.replace(BASE_CONFIG, sync="federated", lr_schedule="chunk"),
    "weight decay": dataclasses.replace(BASE_CONFIG, weight_decay=0.1),
    "one chunk for all ranks": dataclasses.replace(BASE_CONFIG, sync="federated", chunk_tokens=256),
}
ROWS = 7


def make_model() -> GPT:
    """The tiny model with noise on every weight, so that each has a gradient."""
    model = GPT(TINY_MODEL_CONFIG).init_weights(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def finetune(cfg: PrequantTTTConfig = BASE_CONFIG, ctx=None) -> tuple[GPT, list[float]]:
    """The trained model and the loss of each epoch."""
    model, ctx = make_model(), ctx or context.single_process()
    windows = make_windows()[:ROWS]
    return model, prequant_ttt.finetune_on_stream(model, windows, cfg, ctx, progress_name="ttt").losses


def assert_near(weights: dict[str, torch.Tensor], expected: GPT, tolerance: float) -> None:
    """Equal up to a fraction of the distance that the weights moved."""
    start = dict(make_model().named_parameters())
    for name, weight in expected.named_parameters():
        distance = (weight - start[name]).norm().item()
        assert (weights[name] - weight).norm().item() <= tolerance * distance + 1e-9, name


class _SlowAdamW:
    """Kingma & Ba with the step and the moments in float64."""

    def __init__(self, model: GPT, cfg: PrequantTTTConfig):
        self.model, self.grad_clip, self.decay, self.steps = model, cfg.grad_clip, cfg.weight_decay, 0
        frozen = tuple(f"blocks.{layer}." for layer in range(cfg.freeze_blocks))
        self.trained = {n: w for n, w in model.named_parameters() if not n.startswith(frozen)}
        self.first = {n: torch.zeros_like(w, dtype=torch.float64) for n, w in self.trained.items()}
        self.second = copy.deepcopy(self.first)

    def step(self, batch: torch.Tensor, lr: float) -> float:
        nll = self.model.nll(batch[:, :-1], batch[:, 1:], recurrent=True)
        gradients = torch.autograd.grad(nll.mean(), list(self.trained.values()))
        norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
        self.steps += 1
        for (name, weight), gradient in zip(self.trained.items(), gradients, strict=True):
            g = gradient.double() * min(1.0, self.grad_clip / (norm + 1e-6))
            self.first[name] = 0.9 * self.first[name] + 0.1 * g
            self.second[name] = 0.999 * self.second[name] + 0.001 * g * g
            mean, square = self.first[name] / (1 - 0.9**self.steps), self.second[name] / (1 - 0.999**self.steps)
            kept = weight.double() * (1 - lr * self.decay)
            weight.data = (kept - lr * mean / (square.sqrt() + 1e-8)).float()
        return nll.sum().item()


def slow_finetune(cfg: PrequantTTTConfig, world_size: int) -> tuple[GPT, list[float]]:
    """The same arithmetic in one process: a model and an AdamW for each rank that steps alone, one after another."""
    windows = make_windows()[:ROWS]
    is_federated = cfg.sync == "federated"
    trainers = [_SlowAdamW(make_model(), cfg) for _ in range(world_size if is_federated else 1)]
    average, losses = {n: w.double() for n, w in trainers[0].trained.items()}, []
    for epoch in range(cfg.epochs):
        chunks, nats = windows.split((cfg.chunk_tokens if is_federated else cfg.batch_tokens) // 32), 0.0
        for i, chunk in enumerate(chunks):
            rank = i % len(trainers)
            own = len(range(rank, len(chunks), len(trainers)))
            at, of = (epoch, cfg.epochs) if cfg.lr_schedule == "epoch" else (i // len(trainers), own)
            decay = 0.5 * (1 + math.cos(math.pi * at / max(1, of - 1)))
            nats += trainers[rank].step(chunk, cfg.lr * 0.1 + (cfg.lr - cfg.lr * 0.1) * decay)
        losses.append(nats / windows[:, 1:].numel())
        for name in average:
            mean = sum(trainer.trained[name].double() for trainer in trainers) / len(trainers)
            average[name] = average[name] * (cfg.ema_decay or 0) + mean.detach() * (1 - (cfg.ema_decay or 0))
            for trainer in trainers:
                trainer.trained[name].data = mean.detach().float()
    for name, weight in trainers[0].trained.items():
        weight.data = average[name].detach().float()
    return trainers[0].model, losses
