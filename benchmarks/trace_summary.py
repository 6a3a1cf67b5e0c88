"""Summarize a profiler trace: how the time of a step divides into seven groups.

The input is the Chrome trace that torch.profiler writes. On a GPU the time of kernels counts, and the gaps between them
are waiting. On a CPU the time of operators counts, without the operators that they call, and the gaps are Python.
"""

import itertools
import json
import re
import tempfile
from pathlib import Path

import torch

__all__ = [
    "GPU_CATEGORIES",
    "GROUPS",
    "KIND_PATTERNS",
    "OPTIMIZER_LABEL",
    "STEP_LABEL",
    "classify",
    "profile_step",
    "summarize",
    "thread_operators",
]

GROUPS = ("matmul", "attention", "element-wise", "loss", "optimizer", "communication", "waiting")
STEP_LABEL, OPTIMIZER_LABEL = "golf: step", "golf: optimizer"
GPU_CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")
# By name; the first match counts, and element-wise is the rest. Inductor names a kernel after the operators in it.
KIND_PATTERNS = {
    "communication": r"nccl|gloo|c10d|all_?reduce|reduce_?scatter|all_?gather|broadcast_",
    "loss": r"log_softmax|nll_loss|cross_entropy|_(log|logsumexp|tanh)(_|$)|::(log|tanh)_?$",
    "attention": r"flash|fmha|attention|sdpa|cudnn_generated_fort|_amax_|::bmm$",
    "matmul": r"gemm|nvjet|cutlass|xmma|splitk|cublas|mkldnn|::(mm|addmm|baddbmm|linear|matmul)$",
}


def profile_step(device: torch.device, step) -> list[dict]:
    """The trace events of one call of ``step``, which must synchronize the device at its end."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler, torch.profiler.record_function(STEP_LABEL):
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        return json.loads(path.read_bytes())["traceEvents"]


def summarize(events: list[dict]) -> dict[str, float]:
    """Milliseconds of the step in each of GROUPS; their sum is the wall time of the step.

    Kernels that run at the same time on two streams share that time equally. Raises ValueError for a trace without a
    step.
    """
    events = [event for event in events if event.get("ph") == "X"]
    step = next(
        (event for event in events if event.get("cat") == "user_annotation" and event["name"] == STEP_LABEL), None
    )
    if step is None:
        raise ValueError("the trace has no step")
    has_gpu = any(event["cat"] in GPU_CATEGORIES for event in events)
    work = [event for event in events if event["cat"] in GPU_CATEGORIES] if has_gpu else thread_operators(events, step)
    annotations = [
        event for event in events if event["cat"] == ("gpu_user_annotation" if has_gpu else "user_annotation")
    ]
    optimizer_spans = [(e["ts"], e["ts"] + e["dur"]) for e in annotations if e["name"] == OPTIMIZER_LABEL]
    ms_by_group = dict.fromkeys(GROUPS, 0.0)
    queue = sorted(work, key=lambda e: (e["ts"], -e["dur"]), reverse=True)  # popped from its end
    edges = sorted({time for e in work for time in (e["ts"], e["ts"] + e["dur"])})
    running = []
    for start, stop in itertools.pairwise(edges):
        running = [e for e in running if e["ts"] + e["dur"] > start]
        while queue and queue[-1]["ts"] <= start:
            running.append(queue.pop())
        active = running if has_gpu else running[-1:]  # on a thread only the innermost operator, which started last
        for event in active:
            ms_by_group[classify(event, optimizer_spans)] += (stop - start) / len(active) / 1000
    ms_by_group["waiting"] = max(0.0, step["dur"] / 1000 - sum(ms_by_group.values()))
    return ms_by_group


def thread_operators(events: list[dict], step: dict) -> list[dict]:
    """The operators on the thread of the step."""
    begin, end = step["ts"], step["ts"] + step["dur"]
    return [e for e in events if e["cat"] == "cpu_op" and e["tid"] == step["tid"] and begin <= e["ts"] < end]


def classify(event: dict, optimizer_spans: list[tuple[float, float]]) -> str:
    """The group of an event: by its name, except that everything within the optimizer's spans is the optimizer's."""
    kind = next(
        (kind for kind, pattern in KIND_PATTERNS.items() if re.search(pattern, event["name"], re.IGNORECASE)), None
    )
    if kind != "communication" and any(begin <= event["ts"] < end for begin, end in optimizer_spans):
        return "optimizer"
    return kind or "element-wise"
