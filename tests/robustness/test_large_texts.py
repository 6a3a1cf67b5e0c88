"""A document of 65 MB in one line: memory that grows with the text alone, and lines that show the progress."""

import itertools
import json
import os
import random
import subprocess
import sys
import time

import pytest

from tests.helpers.programs import fetch_texts
from tests.helpers.tiny_corpus import ROOT

TEXT_BYTES = 65_000_000
# Bytes of memory for each byte of text; without spaces most of it is for training the tokenizer.
MAX_MEMORY_FACTOR = {"words": 8, "words and one emoji": 10, "no spaces": 12}
MAX_SECONDS = 600  # ten times what two idle cores take
MAX_SILENT_SECONDS = 100  # ten times what it takes to count the bytes


def make_line(characters: str, separator: str) -> str:
    """Words of a natural frequency, TEXT_BYTES long in UTF-8."""
    draw = random.Random(0)
    character_weights = [1 / (rank + 5) for rank in range(len(characters))]
    words = ["".join(draw.choices(characters, character_weights, k=draw.randint(1, 8))) for _ in range(50_000)]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    parts, n_bytes = [], 0
    while n_bytes < TEXT_BYTES:
        parts.append(separator.join(draw.choices(words, cum_weights=weights, k=10_000)))
        n_bytes += len(parts[-1].encode())
    return separator.join(parts).encode()[:TEXT_BYTES].decode(errors="ignore")


CJK = "".join(chr(0x4E00 + number) for number in range(5000))
LINES = {
    "words": lambda: make_line("etaoinshrdlcumwfgypbvk,.ETAOINS0123456789", " "),
    "words and one emoji": lambda: "😀" + make_line("etaoinshrdlcumwfgypbvk,.ETAOINS0123456789", " ")[:-4],
    "no spaces": lambda: make_line(CJK, ""),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", LINES)
def test_a_long_line_takes_little_memory_and_shows_its_progress(tmp_path, name):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "line.txt").write_text(LINES[name](), encoding="utf-8")
    for number in range(60):
        (texts / f"{number}.txt").write_text(f"A short document, number {number}.", encoding="utf-8")
    coverage = "0.95" if name == "no spaces" else "0.999"
    command = [sys.executable, fetch_texts.__file__, str(texts), str(tmp_path / "out"), coverage]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started_at, pipe = time.perf_counter(), subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        times, lines = zip(*((time.perf_counter(), line) for line in process.stderr), strict=True)
        output = process.stdout.read()
    assert process.returncode == 0, lines[-1]
    result = json.loads(output)
    assert result["tokens"] > TEXT_BYTES / 20
    assert result["memory_bytes"] < MAX_MEMORY_FACTOR[name] * TEXT_BYTES
    assert times[-1] - started_at < MAX_SECONDS
    assert max(b - a for a, b in itertools.pairwise([started_at, *times])) < MAX_SILENT_SECONDS
