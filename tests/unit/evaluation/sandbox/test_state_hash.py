import collections
import copy
import ctypes
import importlib.util
import os
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from golf.evaluation.sandbox import state_hash
from tests.helpers import module_state
from tests.helpers.programs import hash_predictor
from tests.helpers.stateful_predictor import Slotted, make_predictor
from tests.helpers.tiny_corpus import ROOT


def weight(m):
    with torch.no_grad():
        m.model[0].weight[1, 2] += 1e-7


def buffer(m):
    m.model[1].running_mean[0] += 1


def momentum(m):
    next(iter(m.optimizer.state.values()))["momentum_buffer"][0] += 1e-6


def rate(m):
    m.optimizer.param_groups[0]["lr"] = 0.2


def entry(m):
    m.cache["the", 3][1] = 2.5


def key(m):
    m.cache["new"] = None


def array(m):
    m.cache[5]["deep"][3] = -3


def counter(m):
    m.counter += 1


def numpy_counter(m):
    m.count += 1


def queue(m):
    m.recent.append(4)


def numpy_rng(m):
    m.rng.random()


def torch_rng(m):
    torch.rand(1, generator=m.torch_rng)


def raw(m):
    m.raw[1] = 0


def names(m):
    m.names.remove("b")


def slot(m):
    m.slotted.inside = 2


def bits_of_bf16(m):
    m.half[0] = 1.01


def flag(m):
    m.flag.logical_not_()


def attribute(m):
    m.more = None


def type_of_number(m):
    m.counter = 3.0


def shape(m):
    m.half = m.half.reshape(3, 1)


CHANGES = [
    weight, buffer, momentum, rate, entry, key, array, counter, numpy_counter, queue, numpy_rng, torch_rng, raw, names,
    slot, bits_of_bf16, flag, attribute, type_of_number, shape,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_anywhere_is_seen(change):
    predictor = make_predictor()
    before = state_hash.hash_state(predictor)
    assert state_hash.hash_state(predictor) == before, "hashing changes nothing"
    change(predictor)
    assert state_hash.hash_state(predictor) != before


@pytest.mark.parametrize(
    "base", [dict, list, tuple, set, frozenset, collections.OrderedDict, collections.deque, bytearray]
)
def test_attributes_of_a_container_count_beside_its_entries(base):
    held = type("Own", (base,), {})([(1, 2)] if base is not bytearray else b"a")
    bare = state_hash.hash_state(held)
    held.seen = [3]
    with_attribute = state_hash.hash_state(held)
    held.seen.append(4)
    assert len({bare, with_attribute, state_hash.hash_state(held)}) == 3


def test_the_slots_of_a_container_count():
    held = type("Own", (dict,), {"__slots__": ("seen",)})()
    before = state_hash.hash_state(held)
    held.seen = 1
    assert state_hash.hash_state(held) != before


@pytest.mark.parametrize("base", [dict, collections.deque])
def test_entries_of_a_container_count_beside_its_attributes(base):
    held = type("Own", (base,), {})([(1, 2)])
    held.seen = 3
    before = state_hash.hash_state(held)
    held.popitem() if base is dict else held.pop()
    assert state_hash.hash_state(held) != before


def test_a_dict_whose_entries_are_its_attributes_is_hashed():
    held = type("Own", (dict,), {})({1: 2, "a": 3})
    held.__dict__ = held
    before = state_hash.hash_state(held)
    held.b = 4
    assert state_hash.hash_state(held) != before


def test_a_number_drawn_from_pythons_own_generator_is_seen():
    predictor = SimpleNamespace(rng=random.Random(0))
    before = state_hash.hash_state(predictor)
    predictor.rng.random()
    assert state_hash.hash_state(predictor) != before


def test_functions_modules_and_classes_are_not_state():
    predictor = SimpleNamespace(work=lambda: 1, module=np, kind=Slotted)
    before = state_hash.hash_state(predictor)
    predictor.work, predictor.module, predictor.kind = (lambda: 2), torch, SimpleNamespace
    assert state_hash.hash_state(predictor) == before


def test_globals_and_class_attributes_of_the_predictors_own_modules_are_state():
    spec = importlib.util.spec_from_file_location("own", module_state.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    predictor = module.Predictor()
    seen = [state_hash.hash_state(predictor, [module])] * 2
    module.SEEN.append(3)
    seen.append(state_hash.hash_state(predictor, [module]))
    module.Predictor.count += 1
    seen.append(state_hash.hash_state(predictor, [module]))
    module.more = 1
    seen.append(state_hash.hash_state(predictor, [module]))
    assert len(set(seen)) == 4
    assert state_hash.hash_state(predictor, [module]) == seen[-1]


def test_tuple_keys_that_hold_objects_give_the_same_hash_in_every_process():
    kept = [SimpleNamespace(cache={("a", object(), (object(),)): 1}) for _ in range(2)]
    first, second = map(state_hash.hash_state, kept)
    assert first == second
    kept[0].cache = {("b", object(), (object(),)): 1}
    assert state_hash.hash_state(kept[0]) != first


@pytest.mark.parametrize("held", [torch.eye(3).to_sparse(), ctypes.pointer(ctypes.c_int(3)), memoryview(b"a")])
def test_an_object_without_readable_bytes_or_a_copy_does_not_break_the_hash(held):
    predictor = SimpleNamespace(held=held, count=0)
    before = state_hash.hash_state(predictor)
    assert state_hash.hash_state(predictor) == before
    predictor.count = 1
    assert state_hash.hash_state(predictor) != before


def test_a_copy_has_the_same_hash():
    predictor = make_predictor()
    del predictor.lock, predictor.stepped, predictor.optimizer  # not copied, or not whole
    assert state_hash.hash_state(copy.deepcopy(predictor)) == state_hash.hash_state(predictor)


def test_an_object_that_holds_itself_is_hashed_once():
    predictor = SimpleNamespace(value=1)
    predictor.own = predictor
    before = state_hash.hash_state(predictor)
    predictor.value = 2
    assert state_hash.hash_state(predictor) != before


def test_of_long_containers_the_length_and_both_ends_count():
    predictor = SimpleNamespace(log=list(range(10_000)), seen={i: i for i in range(10_000)})
    before = state_hash.hash_state(predictor)
    predictor.log[5000] = -1
    assert state_hash.hash_state(predictor) == before
    log, seen = predictor.log, predictor.seen
    for change in (lambda: log.append(1), lambda: seen.update({0: -1}), seen.popitem):
        change()
        assert state_hash.hash_state(predictor) != before
        before = state_hash.hash_state(predictor)


def test_two_processes_agree():
    hashes = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        ended = subprocess.run(
            [sys.executable, hash_predictor.__file__], env=environment, capture_output=True, check=True
        )
        hashes.add(ended.stdout)
    assert hashes == {f"{state_hash.hash_state(make_predictor())}\n".encode()}


def test_a_tensor_on_a_gpu_is_summed_there_and_a_change_is_seen(gpu):
    predictor = SimpleNamespace(weight=torch.randn(3000, device=gpu), tail=torch.ones(5, dtype=torch.uint8, device=gpu))
    seen = {state_hash.hash_state(predictor)}
    predictor.weight[2999] += 1e-6
    seen.add(state_hash.hash_state(predictor))
    predictor.weight[7] += 1e-6
    seen.add(state_hash.hash_state(predictor))
    predictor.tail[4] = 2
    seen.add(state_hash.hash_state(predictor))
    assert len(seen) == 4


class OnGpu:
    """Bytes of the CPU that say they are on a GPU."""

    device = SimpleNamespace(type="cuda")

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]


def test_the_sums_of_columns_see_a_swap_within_a_row_and_every_byte_of_the_rest():
    words = torch.arange(8 * state_hash.N_HASH_COLUMNS + 2, dtype=torch.int32)
    swapped = words.clone()
    swapped[[3, 4]] = swapped[[4, 3]]
    data = torch.cat([words.view(torch.uint8), torch.ones(3, dtype=torch.uint8)])
    last = data.clone()
    last[-1] = 2
    changed = torch.cat([swapped.view(torch.uint8), torch.ones(3, dtype=torch.uint8)])
    digests = {state_hash.digest_tensor(OnGpu(values)) for values in (data, changed, last)}
    assert len(digests) == 3
    assert {len(digest) for digest in digests} == {8 * (state_hash.N_HASH_COLUMNS + 2 + 3)}
