"""The environment of the predictor's process: an allow-list, so that no key or token of the user reaches it."""

import os
from collections.abc import Mapping

__all__ = ["SPIN_COUNT", "make_environment"]

_ALLOWED_NAMES = {
    "PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "CC", "CXX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER", "CUDA_MODULE_LOADING", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF",
    "ATEN_CPU_CAPABILITY", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_MAX_RESTARTS",
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT",
}  # fmt: skip
_ALLOWED_PREFIXES = (
    "LC_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "DNNL_",
    "ONEDNN_",
    "NCCL_",
    "GLOO_",
)  # of arithmetic, ranks
# glibc gives large blocks back to the kernel, which then clears the same pages again and again: a tenth of the time of
# test-time training on a CPU. Here it keeps up to 8 GiB, and no result changes.
_KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
# Beside a busy process, OpenMP's threads waste most of the time that they get: each spins while it waits for one that
# another process has displaced. With this count they soon sleep: 3 % of a step on idle cores, and beside a busy process
# a step 1.4 times as fast (benchmarks/openmp_spinning.py).
SPIN_COUNT = "2000"  # GOMP_SPINCOUNT of GCC's libgomp, whose default is 300,000


def make_environment(folder: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables for a process with all files in ``folder``: home, temporary files and compilers' caches too.

    environment: of which the allowed ones are taken; None is this process's. Unless they say how long OpenMP's threads
    wait, it is SPIN_COUNT.
    """
    source = os.environ if environment is None else environment
    allowed = {
        name: value for name, value in source.items() if name in _ALLOWED_NAMES or name.startswith(_ALLOWED_PREFIXES)
    }
    if "OMP_WAIT_POLICY" not in allowed:
        allowed.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    cache_dir = f"{folder}/.cache"
    return allowed | {
        "HOME": folder,
        "USER": "predictor",
        "LOGNAME": "predictor",
        "TMPDIR": folder,
        "XDG_CACHE_HOME": cache_dir,
        "TORCHINDUCTOR_CACHE_DIR": f"{cache_dir}/inductor",
        "TRITON_CACHE_DIR": f"{cache_dir}/triton",
        "TRITON_HOME": cache_dir,
        "CUDA_CACHE_PATH": f"{cache_dir}/cuda",
        **_KEPT_MEMORY,
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # worker processes of the compiler would count as commands
        "NCCL_RUNTIME_CONNECT": "0",  # ranks connect at once, as they cannot once the fence stands
    }
