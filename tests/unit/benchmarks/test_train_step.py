"""benchmarks/train_step.py: the plain step is the record's and ours, and a trace's groups add up to the step"""

import dataclasses
import sys
from types import SimpleNamespace

import pytest
import torch
from ruamel.yaml import YAML

from golf.artifacts import io
from golf.distributed import context
from golf.model.gpt import GPT
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import reference_step
import trace_summary as trace
import train_step


def loud(shape) -> dict:
    """Weights none of which is zero."""
    model = GPT(shape).init_weights(torch.Generator().manual_seed(0))
    return {name: tensor + 0.1 * torch.randn(tensor.shape) for name, tensor in model.state_dict().items()}


def batch_of(shape, rows: int = 8):
    ids = torch.randint(0, shape.vocab_size, (rows, shape.context + 1))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


@pytest.mark.parametrize("looped", [False, True])
def test_the_plain_model_has_our_models_loss(tiny_model_config, looped):
    state, (x, y) = loud(tiny_model_config), batch_of(tiny_model_config)
    ours, plain = GPT(tiny_model_config), reference_step.PlainGPT(tiny_model_config)
    ours.load_state_dict(state)
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(x, y, looped), ours.nll(x, y, recurrent=looped).mean(), atol=1e-5, rtol=1e-5)


def test_a_plain_step_and_ours_move_the_weights_and_their_average_alike(tiny_model_config, tiny_train_config):
    wanted, here = (
        dataclasses.replace(tiny_train_config, coefficients="quintic", normuon_beta2=None),
        context.single_process(),
    )
    state, batch = loud(tiny_model_config), batch_of(tiny_model_config)
    ours = train_step.Ours(tiny_model_config, state, wanted, here)
    record = train_step.Record(tiny_model_config, state, wanted, here)
    losses = [[side.step(batch, number, True).item() for number in range(3)] for side in (ours, record)]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)  # Newton–Schulz is bf16 in the one, fp32 in the other
    found = dict(ours.model.named_parameters())
    means = dict(zip(found, ours.averages.averages[wanted.ema_decays[0]], strict=True))
    expected = dict(record.reference.model.named_parameters())
    shadows = dict(zip(expected, record.reference.average, strict=True))
    for name, start in state.items():
        for mine, theirs in ((found, expected), (means, shadows)):
            assert (mine[name] - theirs[name]).norm() < 0.05 * (mine[name] - start).norm(), name


def event(cat: str, name: str, start: float, length: float, thread: int = 1) -> dict:
    return {"ph": "X", "cat": cat, "name": name, "ts": start, "dur": length, "tid": thread}


def test_kernels_of_a_gpu_are_told_by_name_the_optimisers_by_when_they_ran_and_gaps_are_waiting():
    events = [
        event("user_annotation", trace.STEP, 0, 10_000),
        event("cpu_op", "aten::mm", 0, 9_000),
        event("kernel", "nvjet_tst_128x256_64x4_bz_coopA_NNT", 0, 1000),
        event("kernel", "pytorch_flash::flash_bwd_kernel<Flash_fwd_traits, cutlass::bfloat16_t>", 1000, 1000),
        event("kernel", "triton_red_fused__log_softmax_nll_loss_forward_3", 2000, 500),
        event("kernel", "triton_poi_fused_add_mul_7", 2500, 500),
        event("kernel", "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", 5000, 1000, thread=2),
        event("kernel", "sm90_xmma_gemm_bf16bf16_bf16f32", 5500, 1500),
        event("gpu_user_annotation", trace.OPTIMISER, 5200, 2000),
        {"ph": "i", "cat": "marker", "name": "not a span", "ts": 0},
    ]
    found = trace.summary(events)
    assert found == {
        "matmul": 1.0,
        "attention": 1.0,
        "loss": 0.5,
        "element-wise": 0.5,
        "communication": 0.75,
        "optimiser": 1.25,
        "waiting": 5.0,
    }


def test_on_a_cpu_an_operator_counts_without_those_that_it_calls():
    events = [
        event("user_annotation", trace.STEP, 100, 1000),
        event("cpu_op", "aten::linear", 100, 500),
        event("cpu_op", "aten::copy_", 100, 100),
        event("cpu_op", "aten::mm", 300, 200),
        event("user_annotation", trace.OPTIMISER, 700, 200),
        event("cpu_op", "aten::mm", 700, 200),
        event("cpu_op", "aten::mm", 0, 5000, thread=9),
    ]
    found = trace.summary(events)
    assert (found["matmul"], found["element-wise"], found["optimiser"]) == (0.4, 0.1, 0.2)
    assert found["waiting"] == pytest.approx(0.3)


def test_a_trace_without_a_step_is_refused():
    with pytest.raises(ValueError, match="no step"):
        trace.summary([event("cpu_op", "aten::mm", 0, 1)])


def test_both_sides_are_measured_before_and_after_the_loop_and_their_groups_add_up(
    tmp_path, tiny_model_config, monkeypatch
):
    tree = YAML(typ="safe", pure=True).load((ROOT / "profiles" / "record.yaml").read_text(encoding="utf-8"))
    tree["model"] |= dataclasses.asdict(tiny_model_config)
    tree["train"] |= {"device": "cpu", "ranks": 1, "dtype": "float32", "batch_tokens": 256, "micro_tokens": 128}
    for section in ("ttt", "evaluate", "calibrate", "ema", "prequant"):
        for key in ("score_tokens", "batch_tokens", "micro_tokens", "chunk_tokens"):
            if key in tree[section]:
                tree[section][key] = 128
    for section in ("ttt", "evaluate"):
        tree[section] |= {"stride": 16, "ranks": 1}
    tree["calibrate"] |= {"ranks": 1}
    with open(tmp_path / "tiny.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(tree, file)
    monkeypatch.setattr(train_step.hardware, "SIDE", {"cpu": 64})
    arguments = ["train_step.py", "--profile", tmp_path / "tiny.yaml", "--eager", "--turns", "1", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), "--json", str(tmp_path / "found.json")])
    train_step.main()

    found = io.read_json(tmp_path / "found.json")
    assert [row["looped"] for row in found["rows"]] == [False, True]
    for row in found["rows"]:
        assert row["ours"]["first_losses"] == pytest.approx(row["record"]["first_losses"], abs=0.02)
        assert row["ratio"] == pytest.approx(row["ours"]["tokens_per_second"] / row["record"]["tokens_per_second"])
        for side in ("ours", "record"):
            groups = row[side]["groups_ms"]
            assert groups.keys() == set(trace.GROUPS)
            assert min(groups["matmul"], groups["optimiser"], groups["element-wise"]) > 0
        assert row["ours"]["mfu"] < 1


def test_a_gpus_dense_rate_is_its_data_sheets(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    cuda = SimpleNamespace(type="cuda")
    assert train_step.hardware.peak(cuda, torch.bfloat16) == (989.4e12, "data sheet")
    assert train_step.hardware.describe(cuda)["slug"] == "nvidia-h200"
