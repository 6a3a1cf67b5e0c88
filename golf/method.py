"""What is submitted: open the artifact, score, adapt to what was scored. Its import closure is the code bill."""

import numpy as np
import torch

from golf.codec import container
from golf.ground.errors import BadArtifact
from golf.ground.runtime import Runtime
from golf.ground.shape import Shape
from golf.model.gpt import GPT
from golf.quant import grid
from golf.score.scorer import Scorer
from golf.score.sealed import Sealed
from golf.ttt.score_first import Learner


class Method:
    """A model and how it is used on a stream. ``begin`` a pass, then ``score`` and ``update`` chunk by chunk."""

    def __init__(self, model: GPT, here: Runtime, *, score_tokens: int, header: container.Header | None = None):
        self.model, self.here = model, here
        self.header = header  # what the file said of itself; None where there was no file
        self.scorer = Scorer(model, here, score_tokens=score_tokens)
        self.opened = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.stride = model.shape.context
        self.learner: Learner | None = None

    @classmethod
    def open(cls, path, here: Runtime, *, score_tokens: int) -> "Method":
        """From a .golf file and nothing else. Raises BadArtifact when it is damaged or holds no whole model."""
        stored, header = container.read(path)
        problem = misfit(stored, header.model)
        if problem:
            raise BadArtifact(path, f"its tensors are not those of the model it names: {problem}", container.CURE)
        model = GPT(header.model, here.attention)
        model.load_state_dict(grid.weights(stored))
        return cls(model.to(here.device), here, score_tokens=score_tokens, header=header)

    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> "Method":
        """Back to the weights as opened. plan: how to learn from sealed chunks, of which there will be ``chunks``."""
        self.model.load_state_dict(self.opened)
        self.stride = stride
        self.scorer.warm_up(stride=stride)
        self.learner = None if plan is None else Learner(self.model, plan, self.here, chunks=chunks)
        return self

    def score(self, prefix: np.ndarray, chunk: np.ndarray, rows=None):
        """Nats of each token of ``chunk`` after ``prefix``: fp32 [n]; with ``rows`` also log-probabilities [r, V]."""
        nll = self.scorer.score(prefix, chunk, stride=self.stride)
        if rows is None:
            return nll
        return nll, self.scorer.log_probabilities(prefix, chunk, rows, stride=self.stride)

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        """Log-probabilities of the token after ``prefix``: fp32 [V]. No target is given."""
        return self.scorer.log_probabilities(prefix, np.zeros(1, prefix.dtype), [0], stride=self.stride)[0]

    def update(self, sealed: Sealed) -> None:
        """Learn from a chunk whose scores are in the ledger, if there is a plan for it."""
        if self.learner is not None:
            self.learner.learn(sealed)


def misfit(stored: dict[str, torch.Tensor], shape: Shape) -> str | None:
    """The first way in which tensors as stored differ from a model of ``shape``; None where they fit.

    A header of a few bytes may claim any model, so nothing of the model's size is allocated to find out.
    """
    with torch.device("meta"):
        model = GPT(shape)
    tables = sum(buffer.nbytes for buffer in model.buffers())
    if tables > container.RAW_LIMIT:
        return f"its rotary tables take {tables:,} bytes, at most {container.RAW_LIMIT:,} are allowed"
    wanted = {}
    for name, tensor in model.state_dict().items():
        if name + grid.CODES in stored and tensor.ndim == 2:  # codes have rows, each with its step
            wanted |= {name + grid.CODES: tensor.shape, name + grid.STEPS: tensor.shape[:1]}
            if name + grid.COLUMNS in stored:
                wanted[name + grid.COLUMNS] = tensor.shape[1:]
        else:
            wanted[name] = tensor.shape
    found = {name: tensor.shape for name, tensor in stored.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            return f"{name} must be {shown(wanted.get(name))}, got {shown(found.get(name))}"
    return None


def shown(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(list(shape))
