"""benchmarks/train_step.py: the baseline step is equivalent to ours, and a trace's groups add up to the step"""

import dataclasses
import sys
from types import SimpleNamespace

import pytest
import torch

from golf.artifacts import io
from golf.distributed import context
from golf.model.gpt import GPT
from tests.helpers.tiny_corpus import ROOT
from tests.helpers.tiny_profile import write_tiny_profile

sys.path.insert(0, str(ROOT / "benchmarks"))
import reference_step
import trace_summary as trace
import train_step


def make_state_dict(model_cfg) -> dict:
    """Weights none of which is zero."""
    model = GPT(model_cfg).init_weights(torch.Generator().manual_seed(0))
    return {name: tensor + 0.1 * torch.randn(tensor.shape) for name, tensor in model.state_dict().items()}


def make_batch(model_cfg, rows: int = 8):
    ids = torch.randint(0, model_cfg.vocab_size, (rows, model_cfg.context_length + 1))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_baseline_model_has_our_models_loss(tiny_model_config, recurrent):
    state, (x, y) = make_state_dict(tiny_model_config), make_batch(tiny_model_config)
    ours, baseline = GPT(tiny_model_config), reference_step.ReferenceGPT(tiny_model_config)
    ours.load_state_dict(state)
    baseline.load_state_dict(state)
    torch.testing.assert_close(
        baseline(x, y, recurrent), ours.nll(x, y, recurrent=recurrent).mean(), atol=1e-5, rtol=1e-5
    )


def test_a_baseline_step_and_ours_change_the_weights_and_their_average_equally(tiny_model_config, tiny_train_config):
    cfg = dataclasses.replace(tiny_train_config, ns_coefficients="quintic", normuon_beta2=None)
    ctx = context.single_process()
    state, batch = make_state_dict(tiny_model_config), make_batch(tiny_model_config)
    ours = train_step.OurStep(tiny_model_config, state, cfg, ctx)
    baseline = train_step.BaselineStep(tiny_model_config, state, cfg, ctx)
    losses = [[side.step(batch, number, True).item() for number in range(3)] for side in (ours, baseline)]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)  # Newton–Schulz is bf16 in the one, fp32 in the other
    our_weights = dict(ours.model.named_parameters())
    our_average = ours.ema.copy_average(cfg.ema_decays[0])
    weights = dict(baseline.reference.model.named_parameters())
    average = dict(zip(weights, baseline.reference.ema_params, strict=True))
    for name, start in state.items():
        for mine, theirs in ((our_weights, weights), (our_average, average)):
            assert (mine[name] - theirs[name]).norm() < 0.05 * (mine[name] - start).norm(), name


def event(cat: str, name: str, start: float, length: float, thread: int = 1) -> dict:
    return {"ph": "X", "cat": cat, "name": name, "ts": start, "dur": length, "tid": thread}


def test_gpu_kernels_are_classified_by_name_and_span_and_gaps_are_waiting():
    events = [
        event("user_annotation", trace.STEP_LABEL, 0, 10_000),
        event("cpu_op", "aten::mm", 0, 9_000),
        event("kernel", "nvjet_tst_128x256_64x4_bz_coopA_NNT", 0, 1000),
        event("kernel", "pytorch_flash::flash_bwd_kernel<Flash_fwd_traits, cutlass::bfloat16_t>", 1000, 1000),
        event("kernel", "triton_red_fused__log_softmax_nll_loss_forward_3", 2000, 500),
        event("kernel", "triton_poi_fused_add_mul_7", 2500, 500),
        event("kernel", "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", 5000, 1000, thread=2),
        event("kernel", "sm90_xmma_gemm_bf16bf16_bf16f32", 5500, 1500),
        event("gpu_user_annotation", trace.OPTIMIZER_LABEL, 5200, 2000),
        {"ph": "i", "cat": "marker", "name": "not a span", "ts": 0},
    ]
    summary = trace.summarize(events)
    assert summary == {
        "matmul": 1.0,
        "attention": 1.0,
        "loss": 0.5,
        "element-wise": 0.5,
        "communication": 0.75,
        "optimizer": 1.25,
        "waiting": 5.0,
    }


def test_on_a_cpu_an_operator_counts_without_the_operators_that_it_calls():
    events = [
        event("user_annotation", trace.STEP_LABEL, 100, 1000),
        event("cpu_op", "aten::linear", 100, 500),
        event("cpu_op", "aten::copy_", 100, 100),
        event("cpu_op", "aten::mm", 300, 200),
        event("user_annotation", trace.OPTIMIZER_LABEL, 700, 200),
        event("cpu_op", "aten::mm", 700, 200),
        event("cpu_op", "aten::mm", 0, 5000, thread=9),
    ]
    summary = trace.summarize(events)
    assert (summary["matmul"], summary["element-wise"], summary["optimizer"]) == (0.4, 0.1, 0.2)
    assert summary["waiting"] == pytest.approx(0.3)


def test_a_trace_without_a_step_is_refused():
    with pytest.raises(ValueError, match="no step"):
        trace.summarize([event("cpu_op", "aten::mm", 0, 1)])


def test_both_sides_are_measured_without_and_with_recurrence(tmp_path, tiny_model_config, monkeypatch):
    write_tiny_profile(tmp_path / "tiny.yaml", tiny_model_config)
    monkeypatch.setattr(train_step.hardware, "MATMUL_SIZE", {"cpu": 64})
    arguments = ["train_step.py", "--profile", tmp_path / "tiny.yaml", "--eager", "--turns", "1", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), "--json", str(tmp_path / "found.json")])
    train_step.main()

    result = io.read_json(tmp_path / "found.json")
    assert [row["recurrent"] for row in result["rows"]] == [False, True]
    for row in result["rows"]:
        assert row["ours"]["first_losses"] == pytest.approx(row["baseline"]["first_losses"], abs=0.02)
        assert row["ratio"] == pytest.approx(row["ours"]["tokens_per_second"] / row["baseline"]["tokens_per_second"])
        for side in ("ours", "baseline"):
            groups = row[side]["groups_ms"]
            assert groups.keys() == set(trace.GROUPS)
            assert min(groups["matmul"], groups["optimizer"], groups["element-wise"]) > 0
        assert row["ours"]["mfu"] < 1


def test_the_peak_of_a_gpu_is_that_of_its_data_sheet(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    cuda = SimpleNamespace(type="cuda")
    assert train_step.hardware.peak_flops(cuda, torch.bfloat16) == (989.4e12, "data sheet")
    assert train_step.hardware.describe_machine(cuda)["slug"] == "nvidia-h200"
