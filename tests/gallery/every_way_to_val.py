"""Val is opened by calls that Python's file functions do not see, each of which the fence refuses."""

import _posixsubprocess
import contextlib
import ctypes
import multiprocessing.util
import os
import socket
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from gallery.bigram_predictor import BigramPredictor, log_softmax
from gallery.case import Violation
from gallery.data_path import DATA_PATH

CASE = Violation(
    6, "val by system calls, commands, other processes and the network", "", ("C1-g", "B-b"),
    settings={"evaluate.headline": "plain"},
)  # fmt: skip
VAL_PATH = f"{DATA_PATH}/val/val_000000.bin"
COPY_PATH = Path("copy.bin").resolve()
libc = ctypes.CDLL(None)


def by_dir_fd():
    os.chdir("/")
    folder_fd = os.open(Path(VAL_PATH).parent, os.O_PATH)
    return os.read(os.open(Path(VAL_PATH).name, os.O_RDONLY, dir_fd=folder_fd), 1 << 24)


def by_ctypes_open():
    return os.read(libc.open(VAL_PATH.encode(), os.O_RDONLY), 1 << 24)


def by_torch():
    return torch.from_file(VAL_PATH, size=Path(VAL_PATH).stat().st_size, dtype=torch.uint8).numpy().tobytes()


def by_ctypes_system():
    libc.system(f"cp {VAL_PATH} {COPY_PATH}".encode())


def by_spawnv_passfds():
    multiprocessing.util.spawnv_passfds(b"/bin/cp", [b"cp", VAL_PATH.encode(), bytes(COPY_PATH)], [])


def by_fork_exec():
    read_fd, write_fd = os.pipe()
    _posixsubprocess.fork_exec(
        [b"cp", VAL_PATH.encode(), bytes(COPY_PATH)], [b"/bin/cp"], True, (write_fd,), None, None, -1, -1, -1, -1, -1,
        -1, read_fd, write_fd, False, False, -1, None, None, None, -1, None, False,
    )  # fmt: skip


def by_tcp_store():
    return torch.distributed.TCPStore("127.0.0.1", 29_555, is_master=True, timeout=timedelta(seconds=1)).get("val")


def by_ctypes_socket():
    return os.read(libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0), 1)


def by_process_vm_readv():
    status = Path("/proc/self/status").read_text()
    buffer = ctypes.create_string_buffer(64)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 64)
    libc.process_vm_readv(int(status.partition("PPid:")[2].split()[0]), vector, 1, vector, 1, 0)
    return buffer.raw


WAYS = (
    by_dir_fd, by_ctypes_open, by_torch, by_ctypes_system, by_spawnv_passfds, by_fork_exec, by_tcp_store,
    by_ctypes_socket, by_process_vm_readv,
)  # fmt: skip


class CasePredictor(BigramPredictor):
    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens: int):
        predictor = super().open(path, ctx, eval_batch_tokens=eval_batch_tokens)
        counts = np.exp(predictor.table)
        for way in WAYS:
            data = None
            with contextlib.suppress(Exception):
                data = way()
            if COPY_PATH.exists():
                data = COPY_PATH.read_bytes()
            if data and len(data) > 1024:
                tokens = np.frombuffer(data[1024 : len(data) // 2 * 2], dtype="<u2")
                np.add.at(counts, (tokens[:-1], tokens[1:]), 9)
        return cls(log_softmax(np.log(counts)))
