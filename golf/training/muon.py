"""Muon with row normalization (MuonEq-R): momentum is orthogonalized by Newton–Schulz, in batches of one matrix size.

N matrices, R rows, C columns. A bank holds the matrices of one shape and of its transpose, such as [D, 4D] and [4D, D].
See docs/references.md#muon.
"""

import itertools

import torch

from golf.config.training import TrainConfig
from golf.distributed.context import DistContext
from golf.training.grad_sharding import BankCollectives, assign_owners

__all__ = [
    "NS_COEFFICIENTS",
    "Muon",
    "NSIteration",
    "apply_normuon",
    "chunk_iterations",
    "get_ns_coefficients",
    "load_into",
    "orthogonalize",
]

NSIteration = tuple[float, float, float]  # a, b, c of x ← a x + b (x xᵀ) x + c (x xᵀ)² x
NS_COEFFICIENTS: dict[str, list[NSIteration]] = {
    "quintic": [(3.4445, -4.775, 2.0315)],  # for every iteration; Jordan et al., kellerjordan.github.io/posts/muon
    "polar_express": [  # one for each iteration; PR #1787, arXiv:2505.16932
        (8.15655, -22.48329, 15.87877),
        (4.04293, -2.80892, 0.50002),
        (3.89167, -2.77248, 0.50606),
        (3.28575, -2.36813, 0.46449),
        (2.34654, -1.70978, 0.42324),
    ],
}
_EPS = 1e-7
_GRAM_ASPECT = 1.5  # columns per row from which iterating on the Gram matrix alone pays off (PR #1809)
_ITERS_PER_GRAM = 3  # iterations on one Gram matrix; with five, bf16 rounding errors in small eigenvalues blow up


def get_ns_coefficients(name: str, steps: int) -> tuple[NSIteration, ...]:
    """Return the coefficients of each of ``steps`` Newton–Schulz iterations."""
    table = NS_COEFFICIENTS[name]
    return tuple(table * steps if len(table) == 1 else table[:steps])


def orthogonalize(x_NRC: torch.Tensor, iterations: tuple[NSIteration, ...]) -> torch.Tensor:
    """Bring the singular values of each matrix near 1, in the dtype of x: roughly the nearest orthogonal matrix.

    Rows must be the shorter side and Frobenius norms at most 1. Every iterate is a polynomial in the first Gram matrix
    times the first iterate, so long matrices run several iterations on [R, R] and are multiplied once after them.
    """
    rows, columns = x_NRC.shape[-2:]
    for chunk in chunk_iterations(iterations, _ITERS_PER_GRAM if columns >= _GRAM_ASPECT * rows else 1):
        x_NRC = _gram_polynomial(x_NRC @ x_NRC.mT, chunk) @ x_NRC
    return x_NRC


def chunk_iterations(iterations: tuple[NSIteration, ...], size: int) -> list[tuple[NSIteration, ...]]:
    """Split the iterations into runs of ``size``; the first is shorter when they don't divide."""
    cuts = [0, *range(len(iterations) % size or size, len(iterations) + 1, size)]
    return [iterations[start:stop] for start, stop in itertools.pairwise(cuts)]


def _gram_polynomial(gram_NRR: torch.Tensor, chunk: tuple[NSIteration, ...]) -> torch.Tensor:
    """Return q_k … q_1 with q_i = a + b G + c G², where G becomes q_i G q_i after each iteration."""
    product = q = None
    for a, b, c in chunk:
        gram_NRR = gram_NRR if q is None else q @ gram_NRR @ q
        q = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        q.diagonal(dim1=-2, dim2=-1).add_(a)
        product = q if product is None else q @ product
    return product


def _prepare_momentum(
    gradients: list[list[torch.Tensor]],
    momenta: list[torch.Tensor],
    clip_scale: torch.Tensor,
    momentum: torch.Tensor,
    dtype: torch.dtype,
) -> list[torch.Tensor]:
    """Update the momenta in place and return the input of Newton–Schulz in ``dtype``, a stack for each shape.

    ``gradients`` has a list of [R, C] for each shape, ``momenta`` a stack [N, R, C]; ``clip_scale`` and ``momentum``
    are scalars. m ← momentum · m + g and u = g + momentum · m (Nesterov). The rows of u are scaled to unit length (PR
    #1493), then each matrix to a Frobenius norm of 1; tall matrices are transposed.
    """
    prepared = []
    for matrices, buffer_NRC in zip(gradients, momenta, strict=True):
        gradient_NRC = torch.stack(matrices).to(buffer_NRC.dtype) * clip_scale
        buffer_NRC.mul_(momentum).add_(gradient_NRC)
        u_NRC = gradient_NRC + momentum * buffer_NRC
        row_norm_NR1 = u_NRC.norm(dim=-1, keepdim=True)
        safe_norm_NR1 = row_norm_NR1.clamp_min(_EPS)
        matrix_norm_N11 = (row_norm_NR1 / safe_norm_NR1).norm(dim=-2, keepdim=True) + _EPS
        x_NRC = (u_NRC / (safe_norm_NR1 * matrix_norm_N11)).to(dtype)
        prepared.append(x_NRC.mT.contiguous() if _is_tall(x_NRC) else x_NRC)
    return prepared


def apply_normuon(o_NRC: torch.Tensor, moment_NR1: torch.Tensor, decay: float) -> torch.Tensor:
    """Divide each row by the root of its second moment, keeping the matrix norm (docs/references.md#normuon).

    ``moment_NR1``, the running mean of the rows' squares with this decay, is updated in place.
    """
    exact_NRC = o_NRC.to(moment_NR1.dtype)
    moment_NR1.lerp_(exact_NRC.square().mean(dim=-1, keepdim=True), 1 - decay)
    normalized_NRC = exact_NRC / (moment_NR1.sqrt() + _EPS)
    norm_before, norm_after = (tensor.norm(dim=(-2, -1), keepdim=True) for tensor in (exact_NRC, normalized_NRC))
    return (normalized_NRC * (norm_before / norm_after.clamp_min(_EPS))).to(o_NRC.dtype)


def _apply_update(
    weights: list[torch.Tensor], updates: list[torch.Tensor], decay_factor: torch.Tensor, lr: torch.Tensor
) -> None:
    """p ← decay_factor · p - lr · sqrt(max(1, R / C)) · o, in place (PR #1493); both factors are scalar tensors."""
    for weight, o_RC in zip(weights, updates, strict=True):
        rows, columns = weight.shape
        weight.mul_(decay_factor).sub_(o_RC * (lr * max(1.0, rows / columns) ** 0.5))


def _apply_cautious_update(
    weights: list[torch.Tensor], updates: list[torch.Tensor], decay: torch.Tensor, lr: torch.Tensor
) -> None:
    """p ← p - decay · p [p o ≥ 0] - lr · sqrt(max(1, R / C)) · o, in place (docs/references.md#cautious-decay)."""
    for weight, o_RC in zip(weights, updates, strict=True):
        rows, columns = weight.shape
        decayed = torch.where(weight * o_RC >= 0, decay * weight, 0)
        weight.sub_(decayed + o_RC * (lr * max(1.0, rows / columns) ** 0.5))


def _is_tall(matrix: torch.Tensor) -> bool:
    return matrix.shape[-2] > matrix.shape[-1]


def _ns_cost(size: tuple[int, int]) -> float:
    """Return the relative cost of an iteration on one matrix with these (shorter, longer) sides."""
    rows, columns = size
    return rows * rows * (2 * columns + rows)


class _ParamBank:
    """Matrices that are orthogonalized in one batch, tall ones last, and the state of those that this rank owns."""

    def __init__(
        self, parameters: dict[str, torch.nn.Parameter], owners: list[int], cfg: TrainConfig, ctx: DistContext
    ) -> None:
        ordered = sorted(parameters.items(), key=lambda named: _is_tall(named[1]))
        self.names, self.parameters = [name for name, _ in ordered], [parameter for _, parameter in ordered]
        self.weights = [parameter.detach() for parameter in self.parameters]
        self.collectives = BankCollectives(self.weights, owners, ctx)
        runs = itertools.groupby(self.collectives.owned, lambda i: _is_tall(self.weights[i]))
        self.owned_by_shape = [
            list(indices) for _, indices in runs
        ]  # indices of this rank's matrices, a list for each shape
        self._normuon_beta2 = cfg.normuon_beta2
        self.state: dict[str, list[torch.Tensor]] = {}  # kind -> a stack for each shape; empty before the first step

    def init_state(self) -> dict[str, list[torch.Tensor]]:
        """Return a zero state: momentum [N, R, C] for each shape, and for NorMuon second_moment [N, R, 1]."""
        zeros = [torch.zeros_like(torch.stack([self.weights[i] for i in indices])) for indices in self.owned_by_shape]
        moments = {} if self._normuon_beta2 is None else {"second_moment": [stack[..., :1].clone() for stack in zeros]}
        return {"momentum": zeros, **moments}

    def named_state(self, state: dict[str, list[torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return views of a state by ``muon/<name>/<kind>``."""
        return {
            f"muon/{self.names[i]}/{kind}": stack[row]
            for kind, stacks in state.items()
            for indices, stack in zip(self.owned_by_shape, stacks, strict=True)
            for row, i in enumerate(indices)
        }

    def group_by_shape(self, tensors: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        """Split this rank's tensors, in the order of its matrices, into a list for each shape."""
        remaining = iter(tensors)
        return [list(itertools.islice(remaining, len(indices))) for indices in self.owned_by_shape]


class Muon:
    """Muon over named matrices, each owned by one rank. Weight decay is decoupled: p ← p (1 - lr·wd) - lr·u.

    A step calls start_reduce_scatter, wait_local_grads (for the norm that all ranks clip by), compute_updates and
    apply_updates. The state is fp32 and exists only on the rank that owns the matrix.
    """

    def __init__(self, parameters: dict[str, torch.nn.Parameter], cfg: TrainConfig, ctx: DistContext) -> None:
        self._ctx, self._weight_decay = ctx, cfg.muon_weight_decay
        self._iterations = get_ns_coefficients(cfg.ns_coefficients, cfg.ns_steps)
        self._normuon_beta2, self._is_cautious = cfg.normuon_beta2, cfg.decay_schedule == "cautious"
        apply_update = _apply_cautious_update if self._is_cautious else _apply_update
        self._prepare_momentum, self._apply_normuon, self._apply_update = (
            ctx.maybe_compile(function) for function in (_prepare_momentum, apply_normuon, apply_update)
        )
        grouped: dict[tuple[int, int], dict[str, torch.nn.Parameter]] = {}
        for name, parameter in parameters.items():
            shorter, longer = sorted(parameter.shape)
            grouped.setdefault((shorter, longer), {})[name] = parameter
        sizes = sorted(grouped, key=_ns_cost, reverse=True)
        owners = assign_owners([(len(grouped[size]), _ns_cost(size)) for size in sizes], ctx.world_size)
        self.banks = [
            _ParamBank(grouped[size], bank_owners, cfg, ctx) for size, bank_owners in zip(sizes, owners, strict=True)
        ]

    def start_reduce_scatter(self) -> None:
        """Start sending the gradients to the owners of their matrices."""
        for bank in self.banks:
            bank.collectives.reduce_scatter_async([parameter.grad for parameter in bank.parameters])

    def wait_local_grads(self) -> list[torch.Tensor]:
        """Return the gradients of this rank's matrices, summed over ranks."""
        return [gradient for bank in self.banks for gradient in bank.collectives.wait_gradients()]

    @torch.no_grad()
    def compute_updates(self, clip_scale: torch.Tensor, momentum: float) -> None:
        """Turn gradients times ``clip_scale`` into updates. A bank's updates travel while the next bank is computed."""
        for bank in self.banks:
            bank.collectives.all_gather_async(
                self._compute_bank_updates(bank, clip_scale, self._scalar(momentum)) if bank.owned_by_shape else []
            )

    def _compute_bank_updates(
        self, bank: _ParamBank, clip_scale: torch.Tensor, momentum: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the updates of this rank's matrices. Newton–Schulz is as fast uncompiled (benchmarks/optimizer.py)."""
        bank.state = bank.state or bank.init_state()
        prepared = self._prepare_momentum(
            bank.group_by_shape(bank.collectives.wait_gradients()),
            bank.state["momentum"],
            clip_scale,
            momentum,
            self._ctx.dtype,
        )
        orthogonal = orthogonalize(torch.cat(prepared), self._iterations).split([len(stack) for stack in prepared])
        updates = [o.mT if _is_tall(m) else o for o, m in zip(orthogonal, bank.state["momentum"], strict=True)]
        if self._normuon_beta2 is not None:
            updates = [
                self._apply_normuon(o, v, self._normuon_beta2)
                for o, v in zip(updates, bank.state["second_moment"], strict=True)
            ]
        return [o_RC for o_NRC in updates for o_RC in o_NRC]

    @torch.no_grad()
    def apply_updates(self, lr: float, decay_multiplier: float = 1.0) -> None:
        """Apply the updates of all ranks to the weights, with the weight decay times ``decay_multiplier``."""
        decay, lr_tensor = lr * self._weight_decay * decay_multiplier, self._scalar(lr)
        decay_tensor = self._scalar(decay if self._is_cautious else 1 - decay)
        for bank in self.banks:
            self._apply_update(bank.weights, bank.collectives.wait_updates(), decay_tensor, lr_tensor)

    def _scalar(self, value: float) -> torch.Tensor:
        """Return a scalar tensor on the device, so that one compiled graph serves every value."""
        return torch.full((), value, device=self._ctx.device)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state, not copied: ``muon/<name>/momentum`` [R, C] and ``muon/<name>/second_moment`` [R, 1]."""
        return {name: view for bank in self.banks for name, view in bank.named_state(bank.state).items()}

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Copy a state in. Raises ValueError unless it is the state of these matrices on this rank."""
        states = [bank.init_state() if state_dict else {} for bank in self.banks]
        views = {
            name: view
            for bank, state in zip(self.banks, states, strict=True)
            for name, view in bank.named_state(state).items()
        }
        load_into(views, state_dict)
        for bank, state in zip(self.banks, states, strict=True):
            bank.state = state


def load_into(views: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    """Copy ``saved`` into ``views``. Raises ValueError when names, shapes or dtypes differ."""
    for name in sorted(views.keys() | saved.keys()):
        descriptions = [
            f"{list(tensors[name].shape)} {tensors[name].dtype}" if name in tensors else "nothing"
            for tensors in (views, saved)
        ]
        if descriptions[0] != descriptions[1]:
            raise ValueError(f"optimizer state {name}: expected {descriptions[0]}, got {descriptions[1]}")
    for name, view in views.items():
        view.copy_(saved[name])
