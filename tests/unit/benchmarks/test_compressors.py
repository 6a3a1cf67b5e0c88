"""benchmarks/compressors.py: the cost of a text after a prime, and how the prime is chosen"""

import sys
import zlib

import pytest

from tests.helpers.tiny_corpus import ROOT, make_tiny_corpus

sys.path.insert(0, str(ROOT / "benchmarks"))
import compressors
from compressors import COMPRESSORS

SEPARATOR = b"\n"
DOCUMENTS = [text.replace("\n", " ").encode() for text in make_tiny_corpus()]


def code_zlib(pieces: list[bytes]) -> list[bytes]:
    """A stream that can be cut anywhere: each piece is flushed to a byte."""
    coder = zlib.compressobj(9)
    return [*(coder.compress(piece) + coder.flush(zlib.Z_SYNC_FLUSH) for piece in pieces), coder.flush()]


def measure_zlib(data: bytes) -> int:
    return len(zlib.compress(data))


def test_the_cost_of_a_text_is_what_it_adds_to_the_prime():
    def measure_size(data: bytes) -> int:
        return 100 + 2 * len(data)

    assert compressors.measure_cost(measure_size, b"prime", measure_size(b"prime"), b"text", SEPARATOR) == 8 * 2 * 5
    assert compressors.measure_cost(measure_size, b"", measure_size(b""), b"text", SEPARATOR) == 8 * 2 * 4


@pytest.mark.parametrize("prime", [b"", SEPARATOR.join(DOCUMENTS[:30])])
def test_the_costs_of_pieces_add_up_to_the_cost_of_the_text(prime):
    pieces = [SEPARATOR.join(DOCUMENTS[40:45]), SEPARATOR + DOCUMENTS[45], b" ", DOCUMENTS[46]]
    bits = compressors.measure_pieces(code_zlib, prime, len(b"".join(code_zlib([prime]))), pieces, SEPARATOR)
    stream_sizes = [
        len(b"".join(code_zlib(parts)))
        for parts in ([prime], [prime + SEPARATOR if prime else b"", *pieces])
    ]  # fmt: skip
    assert sum(bits) == 8 * (stream_sizes[1] - stream_sizes[0])
    assert len(bits) == len(pieces)


def test_a_prime_is_the_end_of_the_pool_and_fits():
    pool = SEPARATOR.join(DOCUMENTS)
    lengths = []
    for limit_bytes in (300, 1000, 2000, 10**6):
        prime = compressors.fit_prime(measure_zlib, pool, limit_bytes, slack_frac=0.05)
        assert pool.endswith(prime)
        assert measure_zlib(prime) <= limit_bytes
        lengths.append(len(prime))
    assert lengths == sorted(lengths)
    assert lengths[-1] == len(pool)
    assert compressors.fit_prime(measure_zlib, pool, 2, slack_frac=0.05) == b""


def test_a_pool_ends_with_the_preferred_documents():
    documents = [b"alpha beta gamma", b"the harbour at night", b"delta epsilon zeta"]
    dev = [b"near the harbour at noon"]
    pools = {part: compressors.make_pool(documents, dev, part, SEPARATOR) for part in compressors.PARTS}
    assert pools["last"] == SEPARATOR.join(documents)
    assert pools["first"] == SEPARATOR.join(documents[::-1])
    assert pools["nearest"].endswith(documents[1])
    assert {len(pool) for pool in pools.values()} == {len(SEPARATOR.join(documents))}


def test_memory_is_twice_what_ends_the_restarts():
    sizes = {64: 900, 128: 700, 256: 600, 512: 600}
    memory_bytes = compressors.find_memory(lambda n: sizes[n >> 20])
    assert memory_bytes == 512 << 20


def test_memory_ends_at_the_largest_that_a_coder_takes():
    assert compressors.find_memory(lambda n: n >> 20) == compressors.MAX_MEMORY_BYTES


@pytest.mark.parametrize("name", ["brotli", "xz", "zstd", "ppmd-h", "ppmd-i", "zpaq", "bzip3"])
def test_each_compressor_runs_with_each_of_its_settings(name):
    compressor = COMPRESSORS[name]
    if compressor.find_version() is None:
        pytest.skip(f"needs {compressor.package}, of the extra bench")
    text = SEPARATOR.join(DOCUMENTS[:20])
    for settings in compressor.settings:
        tried = settings | ({"memory_bytes": 64 << 20} if "memory_bytes" in settings else {})
        sizes = [len(compressor.compress(data, **tried)) for data in (text, text + SEPARATOR + DOCUMENTS[3])]
        assert sizes[1] - sizes[0] < len(DOCUMENTS[3]) / 2, "a repeated document costs little"


def test_a_package_that_is_missing_has_no_version():
    missing = compressors.Compressor("none", bytes, ({},), package="no-such-package-of-golf")
    assert missing.find_version() is None
