"""What several tests share: a thimble of text, a tiny model, and real data where a checkout has it."""

import dataclasses
import os
import random
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
import torch

from golf.ground import params, sections
from golf.ground.shape import Shape

pytest.register_assert_rewrite("processes", "refusals")
hypothesis.settings.register_profile("golf", deadline=None)  # a first call may have to import the compiler
hypothesis.settings.load_profile("golf")
ROOT = Path(__file__).parents[1]
# Four layers with everything in them: a loop, a parallel layer, shared keys, partial RoPE.
TINY_SHAPE = Shape(
    vocabulary=260,
    layers=4,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=64,
    context=32,
    rope_dims=4,
    rope_base=10000.0,
    qk_gain=2.0,
    leaky_slope=0.5,
    softcap=30.0,
    embed_std=0.005,
    loop_start=1,
    loop_end=2,
    loop_passes=2,
    parallel_from=3,
    xsa_from=0,
    document_bos=None,
)

NAMES = (
    "the old clerk,a young sailor,my neighbour,the baker,our teacher,a quiet farmer,the lighthouse keeper,her brother"
)
VERBS = "carried,painted,counted,mended,borrowed,measured,forgot,sold,described,watched"
THINGS = (
    "seven lamps,a wooden boat,the yellow map,12 baskets of apples,an iron key,the long letter,3 brass clocks,a kite"
)
PLACES = "by the harbour,under the bridge,in the market square,behind the mill,near the railway,at the edge of the wood"
TIMES = "before sunrise,on Thursday,in 1904,after the storm,every winter,without a word,while it rained,at last"


def thimble_documents(count: int = 60) -> list[str]:
    """Short English documents, all different, the same on every machine."""
    dice = random.Random(1)
    choices = [part.split(",") for part in (NAMES, VERBS, THINGS, PLACES, TIMES)]
    documents = []
    for number in range(count):
        sentences = []
        for _ in range(dice.randint(3, 8)):
            sentence = " ".join(dice.choice(part) for part in choices)
            sentences.append(sentence[0].upper() + sentence[1:] + dice.choice([".", ".", "!", "; nobody asked why."]))
        documents.append(f"Chapter {number}\n\n" + " ".join(sentences))
    return documents


@pytest.fixture(autouse=True)
def same_dice():
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def thimble() -> list[str]:
    return thimble_documents()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The whole pipeline, run once on a thimble of text for all tests and workers. Copy it, change nothing in it."""
    import thimble as project

    base = tmp_path_factory.getbasetemp()
    return project.finished(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def place(finished_run, tmp_path, monkeypatch) -> Path:
    """A copy of the finished run to work in, and as the current folder."""
    import thimble as project

    folder = project.copy(finished_run, tmp_path / "place")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refuse(place, capfd):
    """Enter a stage in ``place`` that must fail; returns its one message."""
    import refusals

    with refusals.handlers_kept():
        yield lambda name, code=1: refusals.refused(name, capfd, code)


@pytest.fixture
def desk(tmp_path) -> Path:
    """A working folder with params.yaml, every stage on one CPU rank and eager."""
    import processes

    return processes.configured(tmp_path, {})


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """A folder with somebody's own method and artifact."""
    import strangers

    return strangers.lay_out(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def room(theirs):
    """Open for a stranger's method."""
    import strangers

    from golf.room.room import Room

    with Room(strangers.settings(theirs), theirs) as made:
        yield made


@pytest.fixture(scope="session")
def gallery_run(finished_run, tmp_path_factory) -> Path:
    """The finished run with the gallery's code and its honest predictor. Copy it, change nothing in it."""
    from gallery import bench

    return bench.lay_out(finished_run, tmp_path_factory.mktemp("gallery") / "place")


@pytest.fixture(scope="session")
def stove():
    """What rooms start warm from."""
    from gallery.warm import Stove

    made = Stove()
    yield made
    made.close()


@pytest.fixture
def dock(gallery_run, stove, tmp_path, monkeypatch) -> Path:
    """A copy of the gallery's run to work in, where rooms start warm and the environment says where the data lies."""
    import thimble as project

    folder = project.copy(gallery_run, tmp_path / "place")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DATA_PATH", str(folder / "artifacts/fetch"))
    monkeypatch.setenv("GOLF_STARTED", str(time.time()))  # else the test session counts as evaluation
    monkeypatch.setattr("golf.room.room.subprocess", SimpleNamespace(Popen=stove, DEVNULL=subprocess.DEVNULL))
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real tokenizers and texts beside the repository; skips where they are not."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Workers share the cores, and sums come out the same on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def tiny_shape() -> Shape:
    return TINY_SHAPE


@pytest.fixture(scope="session")
def tiny_train() -> sections.Train:
    """The laptop's training at the size of tiny_shape: 12 steps of 8 rows, by steps alone, in fp32."""
    return dataclasses.replace(
        params.read(ROOT / "profiles" / "laptop.yaml").train,
        device="cpu",
        compile="off",
        dtype="float32",
        limit_s=None,
        reserve_s=0.0,
        steps=12,
        batch_tokens=256,
        micro_tokens=64,
        momentum_steps=6,
        checkpoint_every=5,
        dev_every=5,
        log_every=1,
    )
