"""Where a step's time went: a profiler's trace summed up into seven groups.

Read is the Chrome trace that torch.profiler writes. On a GPU its kernels are what takes time, and what lies between
them is waiting; on a CPU its operators are, each less those that it calls, and what lies between is Python.
"""

import itertools
import json
import re
import tempfile
from pathlib import Path

import torch

GROUPS = ("matmul", "attention", "element-wise", "loss", "optimiser", "communication", "waiting")
STEP_LABEL, OPTIMIZER_LABEL = "golf: step", "golf: optimiser"
GPU_CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")
# By name, the first that fits; element-wise what none fits. Inductor names a kernel after the operators fused in it.
KIND_PATTERNS = {
    "communication": r"nccl|gloo|c10d|all_?reduce|reduce_?scatter|all_?gather|broadcast_",
    "loss": r"log_softmax|nll_loss|cross_entropy|_(log|logsumexp|tanh)(_|$)|::(log|tanh)_?$",
    "attention": r"flash|fmha|attention|sdpa|cudnn_generated_fort|_amax_|::bmm$",
    "matmul": r"gemm|nvjet|cutlass|xmma|splitk|cublas|mkldnn|::(mm|addmm|baddbmm|linear|matmul)$",
}


def profile_step(device: torch.device, step) -> list[dict]:
    """The events of the trace of one call of ``step``, which must wait for the device at its end."""
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
    """Milliseconds of the step in each of GROUPS, whose sum is the step's wall time. Raises ValueError without one.

    Kernels that ran at once, on two streams, share the time that both took.
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
    queue = sorted(work, key=lambda e: (e["ts"], -e["dur"]), reverse=True)  # taken from its end
    edges = sorted({time for e in work for time in (e["ts"], e["ts"] + e["dur"])})
    running = []
    for start, stop in itertools.pairwise(edges):
        running = [e for e in running if e["ts"] + e["dur"] > start]
        while queue and queue[-1]["ts"] <= start:
            running.append(queue.pop())
        active = running if has_gpu else running[-1:]  # on a thread the innermost operator, begun last
        for event in active:
            ms_by_group[classify(event, optimizer_spans)] += (stop - start) / len(active) / 1000
    ms_by_group["waiting"] = max(0.0, step["dur"] / 1000 - sum(ms_by_group.values()))
    return ms_by_group


def thread_operators(events: list[dict], step: dict) -> list[dict]:
    """The operators that the step's own thread ran."""
    begin, end = step["ts"], step["ts"] + step["dur"]
    return [e for e in events if e["cat"] == "cpu_op" and e["tid"] == step["tid"] and begin <= e["ts"] < end]


def classify(event: dict, optimizer_spans: list[tuple[float, float]]) -> str:
    """matmul and the like by name; the optimiser's by when they ran, whatever they are."""
    kind = next(
        (kind for kind, pattern in KIND_PATTERNS.items() if re.search(pattern, event["name"], re.IGNORECASE)), None
    )
    if kind != "communication" and any(begin <= event["ts"] < end for begin, end in optimizer_spans):
        return "optimiser"
    return kind or "element-wise"
