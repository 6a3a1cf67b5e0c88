"""golf.quantization.hessians: sums over tokens, passes and ranks; the time limit; the file."""

import dataclasses
import functools
import itertools
import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from golf.artifacts import io, lineage
from golf.distributed import context
from golf.errors import ArtifactError, DivergenceError
from golf.pipeline.progress import Progress
from golf.quantization import hessians as quantization_hessians
from tests.helpers.quantization_inputs import MODEL_CONFIG, make_model


def make_batches(count: int = 2, rows: int = 4):
    ids = torch.randint(0, MODEL_CONFIG.vocab_size, (count, rows, 17), generator=torch.Generator().manual_seed(1))
    return [(block[:, :-1], block[:, 1:]) for block in ids]


def collect(model=None, batches=None, micro_rows=4, ctx=None):
    model = model or make_model()
    sources = quantization_hessians.map_quantized_inputs(model.state_dict(), 100)
    batches = make_batches() if batches is None else batches
    return quantization_hessians.collect_hessians(
        model, sources, batches, micro_rows=micro_rows, ctx=ctx or context.single_process()
    )[:2]


class Recorder(nn.Module):
    """Wraps a Linear and keeps its inputs."""

    def __init__(self, linear):
        super().__init__()
        self.linear, self.inputs = linear, []

    def forward(self, x):
        self.inputs.append(x.detach().double().flatten(0, -2))
        return self.linear(x)


def test_progress_names_the_input_that_is_read_within_a_batch(monkeypatch, capsys):
    """A batch of a large model takes minutes."""
    progress, model = Progress("calibrate", 2, "batch"), make_model()
    monkeypatch.setattr(progress, "_interval_s", 0.0)
    inputs = quantization_hessians.map_quantized_inputs(model.state_dict(), 100)
    quantization_hessians.collect_hessians(
        model, inputs, make_batches(2), micro_rows=4, ctx=context.single_process(), progress=progress
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("calibrate 0/2 batch  input blocks.0.attn  ")
    assert {line.split("input ")[1].split()[0] for line in lines if "input " in line} == set(inputs.values()) - {
        "tok_emb"
    }
    assert lines[-1].startswith("calibrate 2/2 batch  tokens 128  ")


def test_every_hessian_is_the_sum_over_tokens_and_passes_of_what_the_layer_reads():
    hessians, _ = collect()
    model = make_model()
    readers = {}
    for i, block in enumerate(model.blocks):
        for parent, leaf in ((block.attn, "c_q"), (block.attn, "c_k"), (block.attn, "c_v"), (block.attn, "proj")):
            readers[f"blocks.{i}.attn.{leaf}"] = parent, leaf
        for leaf in ("fc", "proj"):
            readers[f"blocks.{i}.mlp.{leaf}"] = block.mlp, leaf
    recorders = {name: Recorder(getattr(parent, leaf)) for name, (parent, leaf) in readers.items()}
    for name, (parent, leaf) in readers.items():
        setattr(parent, leaf, recorders[name])
    with torch.no_grad():
        hidden = [model(x, recurrent=True).double().flatten(0, 1) for x, _ in make_batches()]
    for name, recorder in recorders.items():
        x = torch.cat(recorder.inputs)
        passes = 3 if name.split(".")[1] in "12" else 1
        assert len(x) == passes * 2 * 4 * 16
        assert torch.allclose(
            hessians[quantization_hessians.get_input_name(name + ".weight")].double(), x.T @ x, rtol=1e-4, atol=1e-4
        ), name
    x = torch.cat(hidden)
    assert torch.allclose(hessians["tok_emb"].double(), x.T @ x, rtol=1e-4, atol=1e-4)


def test_tensors_that_read_one_input_share_one_hessian():
    sources = quantization_hessians.map_quantized_inputs(make_model().state_dict(), 100)
    assert len(sources) == 4 * 6 + 1
    assert len(set(sources.values())) == 4 * 4 + 1
    assert len({sources[f"blocks.2.attn.{leaf}.weight"] for leaf in ("c_q", "c_k", "c_v")}) == 1


def test_hessians_do_not_depend_on_how_many_windows_are_held_at_a_time():
    whole, tokens = collect()
    parts, same_tokens = collect(micro_rows=1)
    assert torch.equal(tokens, same_tokens)
    for name in whole:
        assert torch.allclose(whole[name], parts[name], rtol=1e-4, atol=1e-4), name


@pytest.fixture
def fake_clock(monkeypatch):
    """A clock on which each batch takes the seconds that it is given, in turn."""

    def tick(*seconds):
        times = itertools.accumulate([0.0, *seconds])
        monkeypatch.setattr(quantization_hessians.time, "perf_counter", functools.partial(next, times))

    return tick


@pytest.mark.parametrize(
    ("time_left_s", "followup_batches", "n_batches"),
    [
        (4.5, 0.0, 4),  # 1 + 1 + 1 + 1, and the next would end at 5
        (5.0, 0.0, 5),
        (4.5, 2.0, 2),  # what follows takes 2 more
        (0.5, 0.0, 1),  # never less than one
        (None, 9.0, 6),
    ],
)
def test_no_batch_is_begun_that_would_overshoot_the_clock(fake_clock, time_left_s, followup_batches, n_batches):
    fake_clock(*[1.0] * 9)
    model, batches = make_model(), iter(make_batches(6))
    sources = quantization_hessians.map_quantized_inputs(model.state_dict(), 100)
    stop = {"time_left_s": time_left_s, "followup_batches": followup_batches}
    sums, tokens, _ = quantization_hessians.collect_hessians(
        model, sources, batches, micro_rows=4, ctx=context.single_process(), **stop
    )
    assert len(tokens) == 4 * n_batches
    assert len(list(batches)) == 6 - n_batches
    whole, _ = collect(batches=make_batches(6)[:n_batches])
    assert all(torch.equal(sums[name], h) for name, h in whole.items())


def test_the_slowest_batch_so_far_says_what_the_next_may_take(fake_clock):
    fake_clock(1.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    model = make_model()
    sources = quantization_hessians.map_quantized_inputs(model.state_dict(), 100)
    result = quantization_hessians.collect_hessians(
        model, sources, make_batches(6), micro_rows=4, ctx=context.single_process(), time_left_s=7.5
    )
    assert len(result[1]) == 4 * 3


def test_a_calibration_that_stopped_early_says_after_how_many_batches():
    assert quantization_hessians.make_early_stop_note(64, 64, None) == ""
    words = "; stopped after 41 of 64 batches, since another could exceed train.limit_s = 600 s"
    assert quantization_hessians.make_early_stop_note(41, 64, 600.0) == words


def test_the_tokens_seen_are_kept_with_each_windows_next_token():
    _, tokens = collect()
    assert tokens.dtype == torch.uint16
    assert torch.equal(tokens.long(), torch.cat([torch.cat([x, y[:, -1:]], 1) for x, y in make_batches()]))


def test_hooks_are_removed_on_success_and_on_failure():
    model = make_model()
    collect(model)
    with pytest.raises(IndexError):
        collect(model, [(torch.full((4, 16), 10**6), torch.zeros(4, 16))])
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_bf16_inputs_are_summed_in_fp32():
    hessians, _ = collect(ctx=context.single_process(dtype=torch.bfloat16))
    exact, _ = collect()
    assert {h.dtype for h in hessians.values()} == {torch.float32}
    for name, h in exact.items():
        assert (hessians[name] - h).norm() < 0.02 * h.norm(), name


def test_a_hessian_that_is_not_finite_names_the_tensor():
    model = make_model()
    with torch.no_grad():
        model.blocks[3].mlp.fc.weight[0] = math.inf
    with pytest.raises(DivergenceError, match=r"blocks\.3\.mlp\.proj\.weight"):
        collect(model)


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    own = [(x[rank::2], y[rank::2]) for x, y in make_batches()]
    hessians, tokens = collect(batches=own, ctx=dataclasses.replace(context.single_process(), rank=rank, world_size=2))
    if rank == 0:
        io.save_tensors(f"{folder}/sums", {**hessians, "tokens": tokens}, kind="test", meta={})
    dist.destroy_process_group()


def test_two_ranks_sum_to_the_hessians_and_tokens_of_one(tmp_path):
    mp.spawn(run_rank, args=(str(tmp_path),), nprocs=2)
    summed, _ = io.load_tensors(tmp_path / "sums")
    single, tokens = collect()
    assert torch.equal(summed["tokens"], tokens)
    for name, h in single.items():
        assert torch.allclose(summed[name], h, rtol=1e-4, atol=1e-4), name


@pytest.fixture
def hessian_files(tmp_path):
    """A weights file and the Hessians measured on it."""
    weights, path = tmp_path / "model.safetensors", tmp_path / "hessians.safetensors"
    model = make_model()
    sources = quantization_hessians.map_quantized_inputs(model.state_dict(), 100)
    io.save_tensors(weights, model.state_dict(), kind="weights", meta={})
    hessians, tokens = collect(model)
    lineage_record = lineage.make_lineage("calibrate", {"weights": weights})
    quantization_hessians.save(path, hessians, sources, n_tokens=tokens[:, 1:].numel(), lineage=lineage_record)
    return weights, path, sources, hessians


def test_hessians_come_back_from_their_file(hessian_files):
    weights, path, sources, hessians = hessian_files
    back = quantization_hessians.load(path, sources, weights)
    assert all(torch.equal(back[name], h) for name, h in hessians.items())
    assert io.read_header(path)["meta"]["tokens"] == 2 * 4 * 16


def test_hessians_of_other_weights_are_refused(hessian_files):
    weights, path, sources, _ = hessian_files
    io.save_tensors(weights, {"a": torch.ones(1)}, kind="weights", meta={})
    with pytest.raises(ArtifactError, match="other weights"):
        quantization_hessians.load(path, sources, weights)


def test_a_tensor_without_its_hessian_is_named(hessian_files):
    weights, path, sources, _ = hessian_files
    with pytest.raises(ArtifactError, match=r"no Hessian for blocks\.9\.mlp\.fc\.weight"):
        quantization_hessians.load(path, sources | {"blocks.9.mlp.fc.weight": "blocks.9.mlp.fc"}, weights)
