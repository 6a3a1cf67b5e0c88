"""A stand-in for the hub on this machine: the two endpoints that golf asks, and every way in which they can fail."""

import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np

from golf.data.shard import MAGIC, VERSION

REPO = "somebody/exports"
COMMIT, LATER = "c0ffee" + "0" * 34, "beef" * 10
FOLDER = "datasets/datasets/fineweb10B_sp384"
MODEL = "datasets/tokenizers/fineweb_384_bpe.model"
MANIFEST = "datasets/manifest.json"


def shard(numbers) -> bytes:
    header = np.zeros(256, dtype="<i4")
    header[:3] = MAGIC, VERSION, len(numbers)
    return header.tobytes() + np.asarray(numbers, dtype="<u2").tobytes()


def numbered(kind: str, ids: np.ndarray, shard_tokens: int, folder: str = FOLDER) -> dict[str, bytes]:
    pieces = [ids[start : start + shard_tokens] for start in range(0, len(ids), shard_tokens)]
    return {f"{folder}/fineweb_{kind}_{number:06d}.bin": shard(piece) for number, piece in enumerate(pieces)}


def described(files: dict[str, bytes], vocabulary: int, documents: dict[str, int], like: dict | None = None) -> bytes:
    """A manifest of these files, written as the challenge's. documents: of val and of train; like: a real one."""
    tree = like or {"datasets": [{"name": "fineweb10B_sp384", "tokenizer_name": "sp", "path": FOLDER[9:]}]}
    tree.setdefault("tokenizers", [{"name": "sp", "model_path": MODEL[9:]}])
    stats = {f"docs_{kind}": count for kind, count in documents.items()}
    for kind in documents:
        found = [data for path, data in files.items() if re.search(f"fineweb_{kind}_[0-9]", path)]
        stats |= {f"files_{kind}": len(found), f"tokens_{kind}": sum(len(data) // 2 - 512 for data in found)}
    tree["datasets"][0] |= {"vocab_size": vocabulary, "stats": stats}
    return json.dumps(tree).encode()


class Hub:
    """files: by path; what answers for one is turned by the attributes, each a dict by path.

    cut: (bytes sent before the connection breaks, how often); status: an answer instead; sent: other bytes than those
    that are listed; pause_s: between two pieces. reset: a cut is a reset, not an end. asked: requests by path; ranges:
    the Range of each.
    """

    def __init__(self, files: dict[str, bytes]):
        self.files = dict(files)
        self.commit, self.gated, self.lfs, self.reset = COMMIT, False, True, False
        self.cut, self.status, self.sent, self.pause_s = {}, {}, {}, {}
        self.asked, self.ranges = Counter(), []

    def listing(self) -> dict:
        siblings = [self.sibling(path, data) for path, data in self.files.items()]
        return {"id": REPO, "sha": self.commit, "siblings": siblings}

    def sibling(self, path: str, data: bytes) -> dict:
        told = {"rfilename": path, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
        if not self.lfs or path.endswith(".json"):
            return told
        return told | {"lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}}

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Its address, for HF_ENDPOINT."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/"):
            self.list(*re.fullmatch("/api/datasets/(.+?)/revision/(.+)", path).groups())
        elif path.startswith("/store/"):
            self.send(path.removeprefix("/store/"))
        else:
            commit, file = re.fullmatch(f"/datasets/{REPO}/resolve/([^/]+)/(.+)", path).groups()
            self.resolve(commit, file)

    def list(self, repo: str, revision: str) -> None:
        if repo != REPO:
            self.refuse(401, "RepoNotFound")
        elif self.hub.gated:
            self.refuse(403, "GatedRepo")
        elif revision not in ("main", self.hub.commit):
            self.refuse(404, "RevisionNotFound")
        else:
            self.answer(200, json.dumps(self.hub.listing()).encode())

    def resolve(self, commit: str, file: str) -> None:
        """Large files lie elsewhere, as on the real hub."""
        self.hub.asked[file] += 1
        if commit != self.hub.commit or file not in self.hub.files:
            self.refuse(404, "EntryNotFound")
        elif file in self.hub.status:
            self.refuse(self.hub.status[file], None)
        else:
            self.answer(302, b"", Location=f"/store/{file}")

    def send(self, file: str) -> None:
        data = self.hub.sent.get(file, self.hub.files[file])
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.hub.ranges.append(start)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has enough of it
            self.pour(file, data, start)

    def pour(self, file: str, data: bytes, start: int) -> None:
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        after, times = self.hub.cut.get(file, (0, 0))
        if times:
            self.hub.cut[file] = (after, times - 1)
            data = data[: start + after]
        pause = self.hub.pause_s.get(file, 0)
        piece = 256 if pause else 1 << 20
        for begin in range(start, len(data), piece):
            self.wfile.write(data[begin : begin + piece])
            time.sleep(pause)
        self.close_connection = bool(times)
        if times and self.hub.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def refuse(self, status: int, code: str | None) -> None:
        self.answer(status, b"{}", **({"X-Error-Code": code} if code else {}))

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
