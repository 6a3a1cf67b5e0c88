"""A fake hub on this machine: the two endpoints that golf uses, and the ways in which they can fail."""

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

from golf.data.shard_file import MAGIC, VERSION

REPO = "somebody/exports"
COMMIT, NEXT_COMMIT = "c0ffee" + "0" * 34, "beef" * 10
EXPORT_DIR = "datasets/datasets/fineweb10B_sp384"
TOKENIZER_PATH = "datasets/tokenizers/fineweb_384_bpe.model"
MANIFEST_PATH = "datasets/manifest.json"


def shard_bytes(tokens) -> bytes:
    header = np.zeros(256, dtype="<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    return header.tobytes() + np.asarray(tokens, dtype="<u2").tobytes()


def shard_files(kind: str, ids: np.ndarray, shard_tokens: int, folder: str = EXPORT_DIR) -> dict[str, bytes]:
    shards = [ids[start : start + shard_tokens] for start in range(0, len(ids), shard_tokens)]
    return {f"{folder}/fineweb_{kind}_{index:06d}.bin": shard_bytes(piece) for index, piece in enumerate(shards)}


def manifest_bytes(
    files: dict[str, bytes], vocab_size: int, n_documents: dict[str, int], template: dict | None = None
) -> bytes:
    """A manifest of these files in the challenge's format. n_documents: of val and train. template: a real manifest."""
    manifest = template or {"datasets": [{"name": "fineweb10B_sp384", "tokenizer_name": "sp", "path": EXPORT_DIR[9:]}]}
    manifest.setdefault("tokenizers", [{"name": "sp", "model_path": TOKENIZER_PATH[9:]}])
    stats = {f"docs_{kind}": count for kind, count in n_documents.items()}
    for kind in n_documents:
        shards = [data for path, data in files.items() if re.search(f"fineweb_{kind}_[0-9]", path)]
        stats |= {f"files_{kind}": len(shards), f"tokens_{kind}": sum(len(data) // 2 - 512 for data in shards)}
    manifest["datasets"][0] |= {"vocab_size": vocab_size, "stats": stats}
    return json.dumps(manifest).encode()


class FakeHub:
    """A repository that serves ``files`` (content by path).

    Faults, each a dict by path: connection_cuts: (bytes sent before the connection breaks, how many times);
    error_statuses: an HTTP status in place of the file; replaced_content: other bytes than those listed; pause_s:
    seconds between two chunks. resets_on_cut: a cut resets the connection instead of closing it.
    Recorded: n_requests by path; range_starts: the first byte of each request.
    """

    def __init__(self, files: dict[str, bytes]):
        self.files = dict(files)
        self.commit, self.is_gated, self.uses_lfs, self.resets_on_cut = COMMIT, False, True, False
        self.connection_cuts, self.error_statuses, self.replaced_content, self.pause_s = {}, {}, {}, {}
        self.n_requests, self.range_starts = Counter(), []

    def repo_info(self) -> dict:
        siblings = [self._file_info(path, data) for path, data in self.files.items()]
        return {"id": REPO, "sha": self.commit, "siblings": siblings}

    def _file_info(self, path: str, data: bytes) -> dict:
        info = {"rfilename": path, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
        if not self.uses_lfs or path.endswith(".json"):
            return info
        return info | {"lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}}

    @contextlib.contextmanager
    def serve(self) -> Iterator[str]:
        """Serve until the block ends; yields the address for HF_ENDPOINT."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_HubRequestHandler,), {"hub": self}))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _HubRequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/"):
            self._send_repo_info(*re.fullmatch("/api/datasets/(.+?)/revision/(.+)", path).groups())
        elif path.startswith("/store/"):
            self._send_file(path.removeprefix("/store/"))
        else:
            commit, file = re.fullmatch(f"/datasets/{REPO}/resolve/([^/]+)/(.+)", path).groups()
            self._redirect_to_file(commit, file)

    def _send_repo_info(self, repo: str, revision: str) -> None:
        if repo != REPO:
            self._send_failure(401, "RepoNotFound")
        elif self.hub.is_gated:
            self._send_failure(403, "GatedRepo")
        elif revision not in ("main", self.hub.commit):
            self._send_failure(404, "RevisionNotFound")
        else:
            self._send_answer(200, json.dumps(self.hub.repo_info()).encode())

    def _redirect_to_file(self, commit: str, file: str) -> None:
        """Redirect to the file's content, as the real hub does for large files."""
        self.hub.n_requests[file] += 1
        if commit != self.hub.commit or file not in self.hub.files:
            self._send_failure(404, "EntryNotFound")
        elif file in self.hub.error_statuses:
            self._send_failure(self.hub.error_statuses[file], None)
        else:
            self._send_answer(302, b"", Location=f"/store/{file}")

    def _send_file(self, file: str) -> None:
        data = self.hub.replaced_content.get(file, self.hub.files[file])
        range_match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(range_match[1]) if range_match else 0
        self.hub.range_starts.append(start)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client stopped reading
            self._stream_file(file, data, start)

    def _stream_file(self, file: str, data: bytes, start: int) -> None:
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        cut_after, cuts_left = self.hub.connection_cuts.get(file, (0, 0))
        if cuts_left:
            self.hub.connection_cuts[file] = (cut_after, cuts_left - 1)
            data = data[: start + cut_after]
        pause_s = self.hub.pause_s.get(file, 0)
        chunk_bytes = 256 if pause_s else 1 << 20
        for position in range(start, len(data), chunk_bytes):
            self.wfile.write(data[position : position + chunk_bytes])
            time.sleep(pause_s)
        self.close_connection = bool(cuts_left)
        if cuts_left and self.hub.resets_on_cut:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _send_failure(self, status: int, code: str | None) -> None:
        self._send_answer(status, b"{}", **({"X-Error-Code": code} if code else {}))

    def _send_answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
