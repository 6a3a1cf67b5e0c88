"""Muon with row normalisation (MuonEq-R): momentum made orthogonal by Newton–Schulz, matrices of one size at once.

N matrices, R rows, C columns. A bank holds the matrices of one shape and those of its transpose, [D, 4D] and [4D, D].
"""

import itertools

import torch

from golf.config.sections import TrainConfig
from golf.distributed.context import DistContext
from golf.training.grad_sharding import BankCollectives, assign_owners

NS_COEFFICIENTS = {  # a, b, c of x ← a x + b (x xᵀ) x + c (x xᵀ)² x
    "quintic": [(3.4445, -4.775, 2.0315)],  # every iteration; Jordan et al., kellerjordan.github.io/posts/muon
    "polar_express": [  # one after the other; record-stack 3.10, PR #1787, arXiv:2505.16932
        (8.15655, -22.48329, 15.87877),
        (4.04293, -2.80892, 0.50002),
        (3.89167, -2.77248, 0.50606),
        (3.28575, -2.36813, 0.46449),
        (2.34654, -1.70978, 0.42324),
    ],
}
_EPS = 1e-7
_GRAM_ASPECT = 1.5  # columns a row from which iterations pay on the Gram matrix alone (PR #1809)
_ITERS_PER_GRAM = 3  # iterations on one Gram matrix; with five, bf16's errors in small eigenvalues blow up


def get_ns_coefficients(name: str, steps: int) -> tuple[tuple[float, float, float], ...]:
    """(a, b, c) of each iteration."""
    table = NS_COEFFICIENTS[name]
    return tuple(table * steps if len(table) == 1 else table[:steps])


def orthogonalize(x_NRC: torch.Tensor, iterations: tuple) -> torch.Tensor:
    """Each matrix's nearest orthogonal one, roughly: singular values come near 1. In the dtype of x.

    Rows are the shorter side; no Frobenius norm exceeds 1. All iterates are polynomials in the first Gram matrix times
    the first iterate, so long matrices take several iterations on [R, R] and are multiplied once at the end of those.
    """
    rows, columns = x_NRC.shape[-2:]
    for chunk in chunk_iterations(iterations, _ITERS_PER_GRAM if columns >= _GRAM_ASPECT * rows else 1):
        x_NRC = _gram_polynomial(x_NRC @ x_NRC.mT, chunk) @ x_NRC
    return x_NRC


def chunk_iterations(iterations: tuple, size: int) -> list[tuple]:
    """Runs of ``size`` iterations, the first one shorter where they don't divide."""
    cuts = [0, *range(len(iterations) % size or size, len(iterations) + 1, size)]
    return [iterations[start:stop] for start, stop in itertools.pairwise(cuts)]


def _gram_polynomial(gram_NRR: torch.Tensor, chunk: tuple) -> torch.Tensor:
    """q_k … q_1 with q = a + b G + c G², where G becomes q G q after each."""
    product = q = None
    for a, b, c in chunk:
        gram_NRR = gram_NRR if q is None else q @ gram_NRR @ q
        q = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        q.diagonal(dim1=-2, dim2=-1).add_(a)
        product = q if product is None else q @ product
    return product


def _prepare_momentum(
    gradients, momenta, clip_scale: torch.Tensor, momentum: torch.Tensor, dtype
) -> list[torch.Tensor]:
    """What Newton–Schulz gets, for each shape [N, rows, columns] in ``dtype``; momenta advance in place.

    gradients: for each shape a list of [R, C]; momenta: for each a stack [N, R, C]; clip, momentum: of no dimension.
    m ← momentum · m + g; u = g + momentum · m (Nesterov); rows of u to unit length (PR #1493), then each matrix to a
    Frobenius norm of 1; tall ones transposed.
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
    """NorMuon (record-stack 2.5): rows over the root of their second moment, which advances; the norm stays."""
    exact_NRC = o_NRC.to(moment_NR1.dtype)
    moment_NR1.lerp_(exact_NRC.square().mean(dim=-1, keepdim=True), 1 - decay)
    normalized_NRC = exact_NRC / (moment_NR1.sqrt() + _EPS)
    norm_before, norm_after = (tensor.norm(dim=(-2, -1), keepdim=True) for tensor in (exact_NRC, normalized_NRC))
    return (normalized_NRC * (norm_before / norm_after.clamp_min(_EPS))).to(o_NRC.dtype)


def _apply_update(
    weights: list[torch.Tensor], updates: list[torch.Tensor], decay_factor: torch.Tensor, lr: torch.Tensor
) -> None:
    """p ← keep · p - rate · sqrt(max(1, R / C)) · o, in place (PR #1493); keep and rate are of no dimension."""
    for weight, o_RC in zip(weights, updates, strict=True):
        rows, columns = weight.shape
        weight.mul_(decay_factor).sub_(o_RC * (lr * max(1.0, rows / columns) ** 0.5))


def _is_tall(matrix: torch.Tensor) -> bool:
    return matrix.shape[-2] > matrix.shape[-1]


def _ns_cost(size: tuple[int, int]) -> float:
    """Multiplications of an iteration on one matrix of this (shorter, longer) side, in units that compare sizes."""
    rows, columns = size
    return rows * rows * (2 * columns + rows)


class _ParamBank:
    """Matrices that share their Newton–Schulz, the tall ones last, and the state of those that this rank owns."""

    def __init__(
        self, parameters: dict[str, torch.nn.Parameter], owners: list[int], cfg: TrainConfig, ctx: DistContext
    ):
        ordered = sorted(parameters.items(), key=lambda named: _is_tall(named[1]))
        self.names, self.parameters = [name for name, _ in ordered], [parameter for _, parameter in ordered]
        self.weights = [parameter.detach() for parameter in self.parameters]
        self.collectives = BankCollectives(self.weights, owners, ctx)
        runs = itertools.groupby(self.collectives.owned, lambda i: _is_tall(self.weights[i]))
        self.owned_by_shape = [list(indices) for _, indices in runs]  # of this rank, a list for each shape
        self._normuon_beta2 = cfg.normuon_beta2
        self.state: dict[str, list[torch.Tensor]] = {}  # kind -> a stack for each shape; nothing before the first step

    def init_state(self) -> dict[str, list[torch.Tensor]]:
        """The state before the first step: momentum [N, R, C], and for NorMuon moment [N, R, 1]."""
        zeros = [torch.zeros_like(torch.stack([self.weights[i] for i in indices])) for indices in self.owned_by_shape]
        moments = {} if self._normuon_beta2 is None else {"moment": [stack[..., :1].clone() for stack in zeros]}
        return {"momentum": zeros, **moments}

    def named_state(self, state: dict[str, list[torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Views of a state: ``muon/<name>/<kind>``."""
        return {
            f"muon/{self.names[i]}/{kind}": stack[row]
            for kind, stacks in state.items()
            for indices, stack in zip(self.owned_by_shape, stacks, strict=True)
            for row, i in enumerate(indices)
        }

    def group_by_shape(self, tensors: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        """This rank's tensors, which come in the order of its matrices."""
        remaining = iter(tensors)
        return [list(itertools.islice(remaining, len(indices))) for indices in self.owned_by_shape]


class Muon:
    """Over matrices by name, dealt to the ranks. Decay is decoupled and follows the rate: p ← p (1 - lr·wd) - lr·u.

    A step: ``send`` the gradients off, ``mine`` for the norm on which all ranks must agree, ``turn`` them into
    directions, ``move`` the weights. State is fp32 and lies only on the rank that owns the matrix.
    """

    def __init__(self, parameters: dict[str, torch.nn.Parameter], cfg: TrainConfig, ctx: DistContext):
        self._ctx, self._weight_decay = ctx, cfg.muon_decay
        self._iterations, self._normuon_beta2 = (
            get_ns_coefficients(cfg.ns_coefficients, cfg.ns_steps),
            cfg.normuon_beta2,
        )
        self._prepare_momentum, self._apply_normuon, self._apply_update = (
            ctx.maybe_compile(function) for function in (_prepare_momentum, apply_normuon, _apply_update)
        )
        grouped: dict[tuple, dict[str, torch.nn.Parameter]] = {}
        for name, parameter in parameters.items():
            grouped.setdefault(tuple(sorted(parameter.shape)), {})[name] = parameter
        sizes = sorted(grouped, key=_ns_cost, reverse=True)
        owners = assign_owners([(len(grouped[size]), _ns_cost(size)) for size in sizes], ctx.world_size)
        self.banks = [
            _ParamBank(grouped[size], bank_owners, cfg, ctx) for size, bank_owners in zip(sizes, owners, strict=True)
        ]

    def start_reduce_scatter(self) -> None:
        for bank in self.banks:
            bank.collectives.reduce_scatter_async([parameter.grad for parameter in bank.parameters])

    def wait_local_grads(self) -> list[torch.Tensor]:
        """This rank's gradients, summed over ranks."""
        return [gradient for bank in self.banks for gradient in bank.collectives.wait_gradients()]

    @torch.no_grad()
    def compute_updates(self, clip_scale: torch.Tensor, momentum: float) -> None:
        """Gradients times ``clip`` into directions; those of a bank travel while the next bank is worked on."""
        for bank in self.banks:
            bank.collectives.all_gather_async(
                self._compute_bank_updates(bank, clip_scale, self._scalar(momentum)) if bank.owned_by_shape else []
            )

    def _compute_bank_updates(
        self, bank: _ParamBank, clip_scale: torch.Tensor, momentum: torch.Tensor
    ) -> list[torch.Tensor]:
        """Of this rank's matrices; what is not compiled here runs as fast as it is (benchmarks/optimizer.py)."""
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
                for o, v in zip(updates, bank.state["moment"], strict=True)
            ]
        return [o_RC for o_NRC in updates for o_RC in o_NRC]

    @torch.no_grad()
    def apply_updates(self, lr: float) -> None:
        """The updates of all ranks into the weights."""
        decay_factor, lr = self._scalar(1 - lr * self._weight_decay), self._scalar(lr)
        for bank in self.banks:
            self._apply_update(bank.weights, bank.collectives.wait_updates(), decay_factor, lr)

    def _scalar(self, value: float) -> torch.Tensor:
        """On the device, so that a compiled graph serves every value."""
        return torch.full((), value, device=self._ctx.device)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state itself, not a copy: ``muon/<name>/momentum`` [R, C] and ``muon/<name>/moment`` [R, 1]."""
        return {name: view for bank in self.banks for name, view in bank.named_state(bank.state).items()}

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Raises ValueError when it isn't the state of these matrices on this rank."""
        states = [bank.init_state() if state_dict else {} for bank in self.banks]
        views = {
            name: view
            for bank, state in zip(self.banks, states, strict=True)
            for name, view in bank.named_state(state).items()
        }
        load_into(views, state_dict)
        for bank, blank in zip(self.banks, states, strict=True):
            bank.state = blank


def load_into(views: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    """Copy ``saved`` into ``views``. Raises ValueError when names, shapes or types differ."""
    for name in sorted(views.keys() | saved.keys()):
        descriptions = [
            f"{list(tensors[name].shape)} {tensors[name].dtype}" if name in tensors else "nothing"
            for tensors in (views, saved)
        ]
        if descriptions[0] != descriptions[1]:
            raise ValueError(f"optimiser state {name}: expected {descriptions[0]}, got {descriptions[1]}")
    for name, view in views.items():
        view.copy_(saved[name])
