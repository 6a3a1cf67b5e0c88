"""The file of an encoded text: a fixed header, the side information, the range coder's bytes.

    "GTX"  version │ CRC-32 of all that follows │ content  threads  torch's version  five hashes  digest │ targets  side
       3      1    │             4              │    1       1            3             5 x 4        16   │ LEB128, each

The header has 49 bytes and two numbers, so that a short text is little larger than its code length. The hashes are
``fingerprint.compute_short_hash``; what they stand for is known on the decoder's machine, and an error names it. The
digest is the start of the text's sha256.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from golf.errors import ArtifactError
from golf.evaluation.scoring_loop import MODES
from golf.evaluation.text_codec import leb128

__all__ = ["TextHeader", "hash_text", "pack", "parse"]

_MAGIC, _VERSION = b"GTX", 1
_PREAMBLE, _FIXED = struct.Struct("<3sBI"), struct.Struct("<BB3s4s4s4s4s4s16s")
_DIGEST_BYTES = 16
_SPLIT_BIT, _PREDICT_BIT, _KNOWN_BITS = 4, 8, 15  # the lowest two bits are the index of the mode
_MAX_TARGETS = 1 << 40  # a header that claims more is damaged
_HINT = "encode the text again, or get the file again"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextHeader:
    """What a decoder must agree with, and what it must return.

    mode: of the pass. is_split: the text is a split, one document a line, not a file. uses_predict: each token was
    predicted from scratch. threads: of torch. torch: its version. artifact, tokenizer, settings, libraries, cpu: 4
    bytes each. digest: of the text. n_targets: tokens that were coded.
    """

    mode: str
    is_split: bool
    uses_predict: bool
    threads: int
    torch: tuple[int, int, int]
    artifact: bytes
    tokenizer: bytes
    settings: bytes
    libraries: bytes
    cpu: bytes
    digest: bytes
    n_targets: int

    def find_differences(self, own: "TextHeader") -> list[str]:
        """Return the names of the fields in which the decoder's own values differ."""
        names = ("artifact", "tokenizer", "settings", "torch", "libraries", "cpu")
        return [name for name in names if getattr(self, name) != getattr(own, name)]


def hash_text(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()[:_DIGEST_BYTES]


def pack(header: TextHeader, side_information: bytes, code: bytes) -> bytes:
    """Return the bytes of the file."""
    content = MODES.index(header.mode) | _SPLIT_BIT * header.is_split | _PREDICT_BIT * header.uses_predict
    hashes = header.artifact, header.tokenizer, header.settings, header.libraries, header.cpu
    fixed = _FIXED.pack(content, header.threads, bytes(header.torch), *hashes, header.digest)
    body = (
        fixed
        + leb128.pack_number(header.n_targets)
        + leb128.pack_number(len(side_information))
        + side_information
        + code
    )
    return _PREAMBLE.pack(_MAGIC, _VERSION, zlib.crc32(body)) + body


def parse(path: str | Path, data: bytes) -> tuple[TextHeader, bytes, bytes]:
    """Return the header, the side information and the range coder's bytes. Raises ArtifactError for a damaged file."""
    if len(data) < _PREAMBLE.size or data[:3] != _MAGIC:
        raise ArtifactError(path, "not a text that golf encode wrote", "give the file that it wrote")
    _, version, expected_crc = _PREAMBLE.unpack_from(data)
    body = data[_PREAMBLE.size :]
    if version != _VERSION:
        problem = f"has format version {version}, this version of golf reads {_VERSION} only"
        raise ArtifactError(path, problem, _HINT)
    if zlib.crc32(body) != expected_crc or len(body) < _FIXED.size:
        raise ArtifactError(path, "damaged or cut short: its checksum does not match", _HINT)
    content, threads, torch_version, *hashes, digest = _FIXED.unpack_from(body)
    try:
        n_targets, offset = leb128.parse_number(body, _FIXED.size)
        side_bytes, offset = leb128.parse_number(body, offset)
        mode = MODES[content & 3]
    except IndexError:
        raise ArtifactError(path, "its header is not valid: it ends early or names no mode", _HINT) from None
    if content & ~_KNOWN_BITS or not threads or n_targets > _MAX_TARGETS or side_bytes > len(body) - offset:
        raise ArtifactError(path, "its header is not valid: a number is out of range", _HINT)
    artifact, tokenizer, settings, libraries, cpu = hashes
    header = TextHeader(
        mode=mode,
        is_split=bool(content & _SPLIT_BIT),
        uses_predict=bool(content & _PREDICT_BIT),
        threads=threads,
        torch=(torch_version[0], torch_version[1], torch_version[2]),
        artifact=artifact,
        tokenizer=tokenizer,
        settings=settings,
        libraries=libraries,
        cpu=cpu,
        digest=digest,
        n_targets=n_targets,
    )
    return header, body[offset : offset + side_bytes], body[offset + side_bytes :]
