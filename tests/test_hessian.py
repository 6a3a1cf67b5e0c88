import dataclasses
import functools
import itertools
import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import TINY_SHAPE
from torch import nn

from golf.ground import lineage, runtime, store
from golf.ground.errors import BadArtifact, Diverged
from golf.model.gpt import GPT
from golf.quant import hessian

SHAPE = dataclasses.replace(TINY_SHAPE, vocabulary=300, context=16, embed_std=0.5, loop_passes=3)


def tiny() -> GPT:
    generator = torch.Generator().manual_seed(0)
    model = GPT(SHAPE).initialise(generator)
    with torch.no_grad():
        for block in model.blocks:
            for linear in (block.attn.proj, block.mlp.proj):
                linear.weight.normal_(0, 0.1, generator=generator)
    return model


def batches(count: int = 2, rows: int = 4):
    ids = torch.randint(0, SHAPE.vocabulary, (count, rows, 17), generator=torch.Generator().manual_seed(1))
    return [(block[:, :-1], block[:, 1:]) for block in ids]


def collected(model=None, given=None, micro_rows=4, here=None):
    model = model or tiny()
    sources = hessian.inputs(model.state_dict(), 100)
    given = batches() if given is None else given
    return hessian.collect(model, sources, given, micro_rows=micro_rows, here=here or runtime.alone())[:2]


class Recorder(nn.Module):
    """Stands in for a Linear; keeps all that it read."""

    def __init__(self, linear):
        super().__init__()
        self.linear, self.read = linear, []

    def forward(self, x):
        self.read.append(x.detach().double().flatten(0, -2))
        return self.linear(x)


def test_every_hessian_is_the_sum_over_tokens_and_passes_of_what_the_layer_read():
    hessians, _ = collected()
    model = tiny()
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
        hidden = [model(x, looped=True).double().flatten(0, 1) for x, _ in batches()]
    for name, recorder in recorders.items():
        x = torch.cat(recorder.read)
        passes = 3 if name.split(".")[1] in "12" else 1
        assert len(x) == passes * 2 * 4 * 16
        assert torch.allclose(hessians[hessian.source(name + ".weight")].double(), x.T @ x, rtol=1e-4, atol=1e-4), name
    x = torch.cat(hidden)
    assert torch.allclose(hessians["tok_emb"].double(), x.T @ x, rtol=1e-4, atol=1e-4)


def test_what_reads_one_input_shares_one_hessian():
    sources = hessian.inputs(tiny().state_dict(), 100)
    assert len(sources) == 4 * 6 + 1
    assert len(set(sources.values())) == 4 * 4 + 1
    assert len({sources[f"blocks.2.attn.{leaf}.weight"] for leaf in ("c_q", "c_k", "c_v")}) == 1


def test_hessians_do_not_depend_on_how_many_windows_are_held_at_a_time():
    whole, tokens = collected()
    parts, same = collected(micro_rows=1)
    assert torch.equal(tokens, same)
    for name in whole:
        assert torch.allclose(whole[name], parts[name], rtol=1e-4, atol=1e-4), name


@pytest.fixture
def ticking(monkeypatch):
    """A clock on which each batch takes the seconds that it is given, in turn."""

    def tick(*seconds):
        times = itertools.accumulate([0.0, *seconds])
        monkeypatch.setattr(hessian.time, "perf_counter", functools.partial(next, times))

    return tick


@pytest.mark.parametrize(
    ("left_s", "after", "taken"),
    [
        (4.5, 0.0, 4),  # 1 + 1 + 1 + 1, and the next would end at 5
        (5.0, 0.0, 5),
        (4.5, 2.0, 2),  # what follows takes 2 more
        (0.5, 0.0, 1),  # never less than one
        (None, 9.0, 6),
    ],
)
def test_no_batch_is_begun_that_would_overshoot_the_clock(ticking, left_s, after, taken):
    ticking(*[1.0] * 9)
    model, given = tiny(), iter(batches(6))
    sources = hessian.inputs(model.state_dict(), 100)
    stop = {"left_s": left_s, "after": after}
    sums, tokens, _ = hessian.collect(model, sources, given, micro_rows=4, here=runtime.alone(), **stop)
    assert len(tokens) == 4 * taken
    assert len(list(given)) == 6 - taken
    whole, _ = collected(given=batches(6)[:taken])
    assert all(torch.equal(sums[name], h) for name, h in whole.items())


def test_the_slowest_batch_so_far_says_what_the_next_may_take(ticking):
    ticking(1.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    model = tiny()
    sources = hessian.inputs(model.state_dict(), 100)
    found = hessian.collect(model, sources, batches(6), micro_rows=4, here=runtime.alone(), left_s=7.5)
    assert len(found[1]) == 4 * 3


def test_a_calibration_that_stopped_early_says_after_how_many_batches():
    assert hessian.stopped(64, 64, None) == ""
    words = "; stopped after 41 of 64 batches, as the next could overshoot train.limit_s = 600 s"
    assert hessian.stopped(41, 64, 600.0) == words


def test_the_tokens_seen_are_kept_with_each_windows_next_token():
    _, tokens = collected()
    assert tokens.dtype == torch.uint16
    assert torch.equal(tokens.long(), torch.cat([torch.cat([x, y[:, -1:]], 1) for x, y in batches()]))


def test_hooks_are_gone_when_the_hessians_are_taken_and_when_it_fails():
    model = tiny()
    collected(model)
    with pytest.raises(IndexError):
        collected(model, [(torch.full((4, 16), 10**6), torch.zeros(4, 16))])
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_bf16_inputs_are_summed_in_fp32():
    hessians, _ = collected(here=runtime.alone(dtype=torch.bfloat16))
    exact, _ = collected()
    assert {h.dtype for h in hessians.values()} == {torch.float32}
    for name, h in exact.items():
        assert (hessians[name] - h).norm() < 0.02 * h.norm(), name


def test_a_hessian_that_is_not_finite_names_the_tensor():
    model = tiny()
    with torch.no_grad():
        model.blocks[3].mlp.fc.weight[0] = math.inf
    with pytest.raises(Diverged, match=r"blocks\.3\.mlp\.proj\.weight"):
        collected(model)


def share(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    own = [(x[rank::2], y[rank::2]) for x, y in batches()]
    hessians, tokens = collected(given=own, here=dataclasses.replace(runtime.alone(), rank=rank, ranks=2))
    if rank == 0:
        store.save_tensors(f"{folder}/sums", {**hessians, "tokens": tokens}, kind="test", meta={})
    dist.destroy_process_group()


def test_two_ranks_sum_to_the_hessians_and_tokens_of_one(tmp_path):
    mp.spawn(share, args=(str(tmp_path),), nprocs=2)
    both, _ = store.load_tensors(tmp_path / "sums")
    alone, tokens = collected()
    assert torch.equal(both["tokens"], tokens)
    for name, h in alone.items():
        assert torch.allclose(both[name], h, rtol=1e-4, atol=1e-4), name


@pytest.fixture
def files(tmp_path):
    """A weights file and the Hessians measured on it."""
    weights, path = tmp_path / "model.safetensors", tmp_path / "hessians.safetensors"
    model = tiny()
    sources = hessian.inputs(model.state_dict(), 100)
    store.save_tensors(weights, model.state_dict(), kind="weights", meta={})
    hessians, tokens = collected(model)
    origin = lineage.of("calibrate", {"weights": weights})
    hessian.save(path, hessians, sources, tokens=tokens[:, 1:].numel(), lineage=origin)
    return weights, path, sources, hessians


def test_hessians_come_back_from_their_file(files):
    weights, path, sources, hessians = files
    back = hessian.load(path, sources, weights)
    assert all(torch.equal(back[name], h) for name, h in hessians.items())
    assert store.read_label(path)["meta"]["tokens"] == 2 * 4 * 16


def test_hessians_of_other_weights_are_refused(files):
    weights, path, sources, _ = files
    store.save_tensors(weights, {"a": torch.ones(1)}, kind="weights", meta={})
    with pytest.raises(BadArtifact, match="other weights"):
        hessian.load(path, sources, weights)


def test_a_tensor_without_its_hessian_is_named(files):
    weights, path, sources, _ = files
    with pytest.raises(BadArtifact, match=r"no Hessian for blocks\.9\.mlp\.fc\.weight"):
        hessian.load(path, sources | {"blocks.9.mlp.fc.weight": "blocks.9.mlp.fc"}, weights)
