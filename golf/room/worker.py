"""The process behind the door: opens the method in a child of its own for each sitting, and answers the judge's calls.

Started by room.py as ``python -I -S worker.py``, in a folder that holds the counted code, the artifact and this room's
own files, and nothing else. It is forked after its imports, so that a sitting costs no start.
"""

import importlib
import json
import os
import select
import shutil
import sys
import textwrap
import threading
import time
import traceback
import types
import warnings
from multiprocessing.connection import Connection


def main(settings: dict) -> None:
    sys.path[:0] = [settings["folder"]]
    sys.path += settings["packages"]
    importlib.import_module("torch._dynamo")  # an optimiser imports it; done before the fork, it costs once

    from golf.room import wire

    if settings["commands"] and settings["execution"]["device"] != "cuda":  # it starts Python; asked before the watch
        importlib.import_module("torch._inductor.cpu_vec_isa").pick_vec_isa()
    door = Connection(settings["door"])
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # threads at a fork: none holds a lock
    try:
        while True:
            call, about, _ = wire.receive(door)
            if call != "sit":  # asked of a sitting that has ended meanwhile
                continue
            child = os.fork()
            if child == 0:
                sit(door, settings, about["name"])
            wire.send(door, "ended", {"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])})
    except wire.Closed:  # the judge was killed, or it would have ended this process first
        shutil.rmtree(settings["folder"], ignore_errors=True)


def sit(door: Connection, settings: dict, name: str) -> None:
    """One sitting, watched to its end; then the process ends too, and at once where the judge is gone."""
    from golf.room import wire
    from golf.room.watch import Watch

    watch = Watch(sys.path, [settings["folder"], *settings["caches"]], settings["commands"])
    watch.begin()
    threading.Thread(target=leave_with_judge, args=[door.fileno()], daemon=True).start()
    try:
        serve(door, watch, settings, name)
    except wire.Closed:
        pass
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def leave_with_judge(door: int) -> None:
    """Ends this process when the other side of ``door`` is closed, however long the method still wants to work."""
    hung_up = select.poll()
    hung_up.register(door, 0)
    hung_up.poll()
    os._exit(0)


def serve(door: Connection, watch, settings: dict, name: str) -> None:
    """Open the method and answer calls, up to "leave" or to the first that fails."""
    from golf.ground.errors import GolfError
    from golf.room import wire

    try:
        seat = Seat(settings, name)
        wire.send(door, "done", seat.facts)
        while True:
            call, about, arrays = wire.receive(door)
            if call == "leave":
                wire.send(door, "left", together(watch.report(), seat.here))
                return
            answer, made = getattr(seat, call)(about, *arrays)
            wire.send(door, "done", answer, *made)
    except wire.Closed:
        raise
    except GolfError as error:
        wire.send(door, "refused", {"message": str(error)})
    except BaseException as error:
        wire.send(door, "raised", {"message": told(error, settings["folder"])})


def together(report: dict, here) -> dict:
    """What the processes of all ranks opened, reached and started."""
    import torch
    import torch.distributed as dist

    if here.ranks == 1:
        return report
    words = torch.frombuffer(bytearray(json.dumps(report).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64, device=here.device) for _ in range(here.ranks)]
    dist.all_gather(sizes, torch.tensor([len(words)], device=here.device))
    longest = max(int(size) for size in sizes)
    sent = torch.nn.functional.pad(words, (0, longest - len(words))).to(here.device)
    parts = [torch.zeros_like(sent) for _ in sizes]
    dist.all_gather(parts, sent)
    found = [json.loads(bytes(part[: int(n)].tolist())) for part, n in zip(parts, sizes, strict=True)]
    return {
        key: sum(each[key] for each in found)
        if isinstance(value, int)
        else sorted({entry for each in found for entry in each[key]})
        for key, value in report.items()
    }


def told(error: BaseException, folder: str) -> str:
    """An exception of somebody's code in a line: what, and where in it. The file is minified, so the line is quoted."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(folder)]
    where = ""
    if frames:
        last = frames[-1]
        where = f" ({os.path.relpath(last.filename, folder)}, in {last.name}: {textwrap.shorten(last.line or '', 100)})"
    words = textwrap.shorten(str(error), 300)
    return f"{type(error).__name__}{': ' * bool(words)}{words}{where}"


class Seat:
    """A method, opened, with the tokens that it was given so far."""

    def __init__(self, settings: dict, name: str):
        from golf.ground import machine

        self.here = machine.setup(types.SimpleNamespace(**settings["execution"]), "evaluate", group=name)
        module, _, cls = settings["method"].partition(":")
        kind = getattr(importlib.import_module(module), cls)
        self.method = kind.open(settings["artifact"], self.here, score_tokens=settings["score_tokens"])
        self.modules = [sys.modules[name] for name in settings["modules"] if name in sys.modules]
        self.tokens, self.count = None, 0
        self.facts = {
            "runtime": [self.here.rank, self.here.ranks, str(self.here.device), str(self.here.dtype)],
            "compile": self.here.compile,
            "attention": self.here.attention,
            "note": self.here.note,
            "documents": str(getattr(self.method, "documents", "")),
            "disputed": named(getattr(self.method, "disputed", ())),
            "predicts": callable(getattr(self.method, "predict", None)),
        }

    def begin(self, about: dict):
        """A pass: the tokens of the one before are forgotten, the method goes back to what it was as opened."""
        plan = about["plan"] and types.SimpleNamespace(**about["plan"])
        self.tokens, self.count = None, 0
        self.method.begin(stride=about["stride"], plan=plan, chunks=about["chunks"])
        return {"state": self.state()}, ()

    def give(self, more) -> None:
        """Append to what the method has been given, in an array that holds nothing beyond it."""
        import numpy as np

        if self.tokens is None or self.count + len(more) > len(self.tokens):
            larger = np.zeros(max(1 << 16, 2 * (self.count + len(more))), dtype=more.dtype)
            if self.tokens is not None:
                larger[: self.count] = self.tokens[: self.count]
            self.tokens = larger
        self.tokens[self.count : self.count + len(more)] = more
        self.count += len(more)

    def prefix(self, length: int):
        view = self.tokens[:length]
        view.flags.writeable = False
        return view

    def score(self, about: dict, more, chunk, rows=None):
        self.give(more)
        before, spent = self.watch(about)
        handed = chunk.copy()
        found = self.method.score(self.prefix(about["at"]), handed, *(() if rows is None else (rows.tolist(),)))
        if (handed != chunk).any():
            raise ValueError("it changed the tokens that it was given")
        after, also = self.watch(about)
        told = {"before": before, "after": after, "watch_s": spent + also}
        nll, *distributions = (found,) if rows is None else found
        if len(distributions) != (rows is not None):
            raise ValueError(f"asked for nll and rows, got {1 + len(distributions)} things")
        return told, tuple(map(arrayed, (nll, *distributions)))

    def watch(self, about: dict) -> tuple[str, float]:
        began = time.perf_counter()
        return (self.state() if about["watched"] else ""), time.perf_counter() - began

    def predict(self, about: dict, more):
        self.give(more)
        return {}, (arrayed(self.method.predict(self.prefix(about["at"]))),)

    def update(self, about: dict, more, tokens):
        from golf.score.sealed import Sealed

        self.give(more)
        self.method.update(Sealed(about["index"], tokens, about["last"], about["seal"]))
        return {}, ()

    def state(self) -> str:
        from golf.room import fingerprint

        return fingerprint.of(self.method, self.modules)


def named(disputed) -> list[str]:
    """What a method calls disputed of itself. Raises TypeError for anything but a list or tuple of names."""
    if not isinstance(disputed, (list, tuple)) or not all(isinstance(name, str) for name in disputed):
        raise TypeError(f"disputed must be a list of names, got {disputed!r}")
    return list(disputed)


def arrayed(value):
    """float32, or float64 where it is that already. Raises TypeError for what is no array of numbers."""
    import numpy as np

    made = np.asarray(value)
    if made.dtype.kind != "f":
        raise TypeError(f"expected an array of floats, got {type(value).__name__} of {made.dtype}")
    return made if made.dtype == np.float64 else made.astype(np.float32)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
