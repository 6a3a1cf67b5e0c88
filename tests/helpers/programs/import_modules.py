"""Import the modules that the arguments name, and fail at the first whose import changes the process or its folder."""

import importlib
import os
import random
import signal
import sys

import brotli  # noqa: F401 - packages that the modules import are imported before, as they may change the state
import constriction  # noqa: F401
import filelock  # noqa: F401
import numba  # noqa: F401
import numpy as np
import psutil  # noqa: F401
import safetensors.torch  # noqa: F401
import scipy.stats  # noqa: F401
import sentencepiece  # noqa: F401
import torch
import torch.distributed as dist
import zstandard  # noqa: F401


def read_state() -> tuple:
    return (
        dict(os.environ),
        os.getcwd(),
        sorted(os.listdir(".")),
        sys.path[:],
        [signal.getsignal(number) for number in signal.valid_signals()],
        random.getstate(),
        str(np.random.get_state()),
        torch.initial_seed(),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
        dist.is_initialized(),
    )


if __name__ == "__main__":
    before = read_state()
    for module_name in sys.argv[1:]:
        importlib.import_module(module_name)
        assert read_state() == before, module_name
