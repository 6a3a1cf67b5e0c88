"""Muon with row normalisation (MuonEq-R): momentum made orthogonal by Newton–Schulz, matrices of one size at once.

N matrices, R rows, C columns. A bank holds the matrices of one shape and those of its transpose, [D, 4D] and [4D, D].
"""

import itertools

import torch

from golf.ground.runtime import Runtime
from golf.ground.sections import Train
from golf.train.exchange import Exchange, dealt

COEFFICIENTS = {  # a, b, c of x ← a x + b (x xᵀ) x + c (x xᵀ)² x
    "quintic": [(3.4445, -4.775, 2.0315)],  # every iteration; Jordan et al., kellerjordan.github.io/posts/muon
    "polar_express": [  # one after the other; record-stack 3.10, PR #1787, arXiv:2505.16932
        (8.15655, -22.48329, 15.87877),
        (4.04293, -2.80892, 0.50002),
        (3.89167, -2.77248, 0.50606),
        (3.28575, -2.36813, 0.46449),
        (2.34654, -1.70978, 0.42324),
    ],
}
TINY = 1e-7
LONG = 1.5  # columns a row from which iterations pay on the Gram matrix alone (PR #1809)
TOGETHER = 3  # iterations on one Gram matrix; with five, bf16's errors in small eigenvalues blow up


def coefficients(name: str, steps: int) -> tuple[tuple[float, float, float], ...]:
    """(a, b, c) of each iteration."""
    listed = COEFFICIENTS[name]
    return tuple(listed * steps if len(listed) == 1 else listed[:steps])


def orthogonalise(x_NRC: torch.Tensor, iterations: tuple) -> torch.Tensor:
    """Each matrix's nearest orthogonal one, roughly: singular values come near 1. In the dtype of x.

    Rows are the shorter side; no Frobenius norm exceeds 1. All iterates are polynomials in the first Gram matrix times
    the first iterate, so long matrices take several iterations on [R, R] and are multiplied once at the end of those.
    """
    rows, columns = x_NRC.shape[-2:]
    for part in parts(iterations, TOGETHER if columns >= LONG * rows else 1):
        x_NRC = product(x_NRC @ x_NRC.mT, part) @ x_NRC
    return x_NRC


def parts(iterations: tuple, size: int) -> list[tuple]:
    """Runs of ``size`` iterations, the first one shorter where they don't divide."""
    cuts = [0, *range(len(iterations) % size or size, len(iterations) + 1, size)]
    return [iterations[start:stop] for start, stop in itertools.pairwise(cuts)]


def product(gram_NRR: torch.Tensor, part: tuple) -> torch.Tensor:
    """q_k … q_1 with q = a + b G + c G², where G becomes q G q after each."""
    made = q = None
    for a, b, c in part:
        gram_NRR = gram_NRR if q is None else q @ gram_NRR @ q
        q = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        q.diagonal(dim1=-2, dim2=-1).add_(a)
        made = q if made is None else q @ made
    return made


def ready(gradients, momenta, clip: torch.Tensor, momentum: torch.Tensor, dtype) -> list[torch.Tensor]:
    """What Newton–Schulz gets, for each shape [N, rows, columns] in ``dtype``; momenta advance in place.

    gradients: for each shape a list of [R, C]; momenta: for each a stack [N, R, C]; clip, momentum: of no dimension.
    m ← momentum · m + g; u = g + momentum · m (Nesterov); rows of u to unit length (PR #1493), then each matrix to a
    Frobenius norm of 1; tall ones transposed.
    """
    made = []
    for own, buffer_NRC in zip(gradients, momenta, strict=True):
        gradient_NRC = torch.stack(own).to(buffer_NRC.dtype) * clip
        buffer_NRC.mul_(momentum).add_(gradient_NRC)
        u_NRC = gradient_NRC + momentum * buffer_NRC
        length_NR1 = u_NRC.norm(dim=-1, keepdim=True)
        unit_NR1 = length_NR1.clamp_min(TINY)
        whole_N11 = (length_NR1 / unit_NR1).norm(dim=-2, keepdim=True) + TINY
        x_NRC = (u_NRC / (unit_NR1 * whole_N11)).to(dtype)
        made.append(x_NRC.mT.contiguous() if is_tall(x_NRC) else x_NRC)
    return made


def evened(o_NRC: torch.Tensor, moment_NR1: torch.Tensor, decay: float) -> torch.Tensor:
    """NorMuon (record-stack 2.5): rows over the root of their second moment, which advances; the norm stays."""
    exact_NRC = o_NRC.to(moment_NR1.dtype)
    moment_NR1.lerp_(exact_NRC.square().mean(dim=-1, keepdim=True), 1 - decay)
    even_NRC = exact_NRC / (moment_NR1.sqrt() + TINY)
    before, after = (each.norm(dim=(-2, -1), keepdim=True) for each in (exact_NRC, even_NRC))
    return (even_NRC * (before / after.clamp_min(TINY))).to(o_NRC.dtype)


def shift(weights: list[torch.Tensor], directions: list[torch.Tensor], keep: torch.Tensor, rate: torch.Tensor) -> None:
    """p ← keep · p - rate · sqrt(max(1, R / C)) · o, in place (PR #1493); keep and rate are of no dimension."""
    for weight, o_RC in zip(weights, directions, strict=True):
        rows, columns = weight.shape
        weight.mul_(keep).sub_(o_RC * (rate * max(1.0, rows / columns) ** 0.5))


def is_tall(matrix: torch.Tensor) -> bool:
    return matrix.shape[-2] > matrix.shape[-1]


def cost(size: tuple[int, int]) -> float:
    """Multiplications of an iteration on one matrix of this (shorter, longer) side, in units that compare sizes."""
    rows, columns = size
    return rows * rows * (2 * columns + rows)


class Bank:
    """Matrices that share their Newton–Schulz, the tall ones last, and the state of those that this rank owns."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], owners: list[int], train: Train, here: Runtime):
        ordered = sorted(parameters.items(), key=lambda named: is_tall(named[1]))
        self.names, self.parameters = [name for name, _ in ordered], [parameter for _, parameter in ordered]
        self.weights = [parameter.detach() for parameter in self.parameters]
        self.exchange = Exchange(self.weights, owners, here)
        runs = itertools.groupby(self.exchange.own, lambda i: is_tall(self.weights[i]))
        self.own = [list(indices) for _, indices in runs]  # of this rank, a list for each shape
        self.normuon = train.normuon
        self.state: dict[str, list[torch.Tensor]] = {}  # kind -> a stack for each shape; nothing before the first step

    def blank(self) -> dict[str, list[torch.Tensor]]:
        """The state before the first step: momentum [N, R, C], and for NorMuon moment [N, R, 1]."""
        zeros = [torch.zeros_like(torch.stack([self.weights[i] for i in indices])) for indices in self.own]
        moments = {} if self.normuon is None else {"moment": [stack[..., :1].clone() for stack in zeros]}
        return {"momentum": zeros, **moments}

    def named(self, state: dict[str, list[torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Views of a state: ``muon/<name>/<kind>``."""
        return {
            f"muon/{self.names[i]}/{kind}": stack[place]
            for kind, stacks in state.items()
            for indices, stack in zip(self.own, stacks, strict=True)
            for place, i in enumerate(indices)
        }

    def by_shape(self, tensors: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        """This rank's tensors, which come in the order of its matrices."""
        rest = iter(tensors)
        return [list(itertools.islice(rest, len(indices))) for indices in self.own]


class Muon:
    """Over matrices by name, dealt to the ranks. Decay is decoupled and follows the rate: p ← p (1 - lr·wd) - lr·u.

    A step: ``send`` the gradients off, ``mine`` for the norm on which all ranks must agree, ``turn`` them into
    directions, ``move`` the weights. State is fp32 and lies only on the rank that owns the matrix.
    """

    def __init__(self, parameters: dict[str, torch.nn.Parameter], train: Train, here: Runtime):
        self.here, self.decay = here, train.matrix_decay
        self.iterations, self.normuon = coefficients(train.coefficients, train.newton_schulz), train.normuon
        self.ready, self.evened, self.shift = (here.compiled(each) for each in (ready, evened, shift))
        grouped: dict[tuple, dict[str, torch.nn.Parameter]] = {}
        for name, parameter in parameters.items():
            grouped.setdefault(tuple(sorted(parameter.shape)), {})[name] = parameter
        sizes = sorted(grouped, key=cost, reverse=True)
        owners = dealt([(len(grouped[size]), cost(size)) for size in sizes], here.ranks)
        self.banks = [Bank(grouped[size], ranks, train, here) for size, ranks in zip(sizes, owners, strict=True)]

    def send(self) -> None:
        for bank in self.banks:
            bank.exchange.scatter([parameter.grad for parameter in bank.parameters])

    def mine(self) -> list[torch.Tensor]:
        """This rank's gradients, summed over ranks."""
        return [gradient for bank in self.banks for gradient in bank.exchange.mine()]

    @torch.no_grad()
    def turn(self, clip: torch.Tensor, momentum: float) -> None:
        """Gradients times ``clip`` into directions; those of a bank travel while the next bank is worked on."""
        for bank in self.banks:
            bank.exchange.gather(self.directions(bank, clip, self.number(momentum)) if bank.own else [])

    def directions(self, bank: Bank, clip: torch.Tensor, momentum: torch.Tensor) -> list[torch.Tensor]:
        """Of this rank's matrices; what is not compiled here runs as fast as it is (benchmarks/optimizer.py)."""
        bank.state = bank.state or bank.blank()
        shapes = self.ready(
            bank.by_shape(bank.exchange.mine()), bank.state["momentum"], clip, momentum, self.here.dtype
        )
        made = orthogonalise(torch.cat(shapes), self.iterations).split([len(each) for each in shapes])
        turned = [o.mT if is_tall(m) else o for o, m in zip(made, bank.state["momentum"], strict=True)]
        if self.normuon is not None:
            turned = [self.evened(o, v, self.normuon) for o, v in zip(turned, bank.state["moment"], strict=True)]
        return [o_RC for o_NRC in turned for o_RC in o_NRC]

    @torch.no_grad()
    def move(self, rate: float) -> None:
        """The updates of all ranks into the weights."""
        keep, rate = self.number(1 - rate * self.decay), self.number(rate)
        for bank in self.banks:
            self.shift(bank.weights, bank.exchange.all(), keep, rate)

    def number(self, value: float) -> torch.Tensor:
        """On the device, so that a compiled graph serves every value."""
        return torch.full((), value, device=self.here.device)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state itself, not a copy: ``muon/<name>/momentum`` [R, C] and ``muon/<name>/moment`` [R, 1]."""
        return {name: view for bank in self.banks for name, view in bank.named(bank.state).items()}

    def load_state_dict(self, saved: dict[str, torch.Tensor]) -> None:
        """Raises ValueError when it isn't the state of these matrices on this rank."""
        blanks = [bank.blank() if saved else {} for bank in self.banks]
        views = {
            name: view
            for bank, blank in zip(self.banks, blanks, strict=True)
            for name, view in bank.named(blank).items()
        }
        fill(views, saved)
        for bank, blank in zip(self.banks, blanks, strict=True):
            bank.state = blank


def fill(views: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    """Copy ``saved`` into ``views``. Raises ValueError when names, shapes or types differ."""
    for name in sorted(views.keys() | saved.keys()):
        told = [
            f"{list(side[name].shape)} {side[name].dtype}" if name in side else "nothing" for side in (views, saved)
        ]
        if told[0] != told[1]:
            raise ValueError(f"optimiser state {name}: expected {told[0]}, got {told[1]}")
    for name, view in views.items():
        view.copy_(saved[name])
