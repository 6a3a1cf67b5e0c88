"""``golf encode`` and ``golf decode``: the artifact as a lossless compressor of any text."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golf.artifacts import io, lineage
from golf.cli.figures import format_figure
from golf.compliance.provenance import read_plan
from golf.config import loader
from golf.data import split_reader
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, InputError
from golf.evaluation import ledger
from golf.evaluation.loaded_model import read_transform_name
from golf.evaluation.text_codec.codec import EncodedText, PassConfig, TextCodec

__all__ = ["CodecFiles", "decode_file", "encode_file"]

_SUFFIX = ".golfz"
_FETCH_DIR, _LEDGER_DIR = Path("artifacts/fetch"), Path("artifacts/evaluate/ledgers")


@dataclass(frozen=True, kw_only=True)
class CodecFiles:
    """What both commands read beside the text: the artifact, its tokenizer and the plan."""

    artifact: Path
    tokenizer: Path
    plan: Path

    def open(self, mode: str | None, *, quiet: bool) -> tuple[TextCodec, PassConfig]:
        """Return the codec, and how its pass scores and learns. mode: None for the headline."""
        headline, stride, order = loader.load_sections("evaluate.headline", "evaluate.stride", "evaluate.order")
        if order != "stream":
            raise InputError(f"evaluate.order: encode and decode follow the stream, got {order}; set it to stream")
        for path in (self.artifact, self.tokenizer, self.plan):
            if not path.is_file():
                raise ArtifactError(path, "not found")
        codec = TextCodec(
            self.artifact, Tokenizer.open(self.tokenizer), read_transform_name(self.tokenizer), quiet=quiet
        )
        ttt_cfg, memory_cfg = read_plan(self.plan, codec.context_length)
        return codec, PassConfig(mode=mode or headline, stride=stride, ttt_cfg=ttt_cfg, memory_cfg=memory_cfg)


def encode_file(
    files: CodecFiles,
    path: Path | None,
    split_name: str | None,
    out: Path | None,
    *,
    mode: str | None,
    uses_predict: bool,
    force: bool,
    as_json: bool,
) -> str:
    """Encode the file at ``path``, or else a split of fetch, and report its size and seconds.

    out: None for the file's name with .golfz. Raises InputError when it exists, unless ``force`` is set, and when
    ``path`` is no file.
    """
    text = b"" if path is None else _read_file(path)
    out = out or (Path(f"{split_name}.txt{_SUFFIX}") if path is None else path.with_name(path.name + _SUFFIX))
    _require_absent(out, force=force)
    claimed_bits = None
    if path is None:
        split = split_reader.open_split(_FETCH_DIR / str(split_name), hub_root=loader.load_config().hub.root)
        tokens = split.read_tokens()
    codec, plan = files.open(mode, quiet=as_json)
    if split_name == "val":
        claimed_bits = _read_claimed_bits(files.artifact, plan.mode, len(tokens) - 1)
    with io.atomic_write(out) as tmp_path:
        if path is None:
            encoded = codec.encode_split(tokens, plan, uses_predict=uses_predict)
        else:
            encoded = codec.encode(text, plan, uses_predict=uses_predict)
        tmp_path.write_bytes(encoded.data)
    report = encoded.to_dict() | {"mode": plan.mode, "claimed_bits": claimed_bits, "out": str(out)}
    return json.dumps(report, indent=2) if as_json else _render_report(encoded, report)


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not found" if not path.exists() else "no regular file"
        raise InputError(f"{path}: {kind}; give the path of a file")
    return path.read_bytes()


def decode_file(files: CodecFiles, path: Path, out: Path | None, *, force: bool, as_json: bool) -> str:
    """Decode the file at ``path`` and report the text's size and the seconds.

    out: None for the file's name without .golfz. Raises InputError when it exists, unless ``force`` is set, and when
    ``path`` is no file.
    """
    data = _read_file(path)
    if out is None and path.suffix != _SUFFIX:
        raise InputError(f"{path}: does not end in {_SUFFIX}, so its text has no name; give one as --out")
    out = out or path.with_suffix("")
    _require_absent(out, force=force)
    codec, plan = files.open(None, quiet=as_json)
    with io.atomic_write(out) as tmp_path:
        text, seconds = codec.decode(path, data, plan)
        tmp_path.write_bytes(text)
    if as_json:
        return json.dumps({"text_bytes": len(text), "seconds": round(seconds, 3), "out": str(out)}, indent=2)
    return f"{out}: {len(text):,} bytes, as they were encoded, in {seconds:.1f} s"


def _require_absent(out: Path, *, force: bool) -> None:
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give a file's name as --out")
    if out.exists() and not force:
        raise InputError(f"{out}: exists; give another name as --out, or --force to replace it")


def _read_claimed_bits(artifact: Path, mode: str, n_targets: int) -> float | None:
    """The bits that evaluate's ledger claims for val; None without a ledger of this artifact."""
    path = _LEDGER_DIR / f"{mode}.safetensors"
    if not path.is_file():
        return None
    data, meta = ledger.read(path)
    inputs = meta.get("lineage", {}).get("inputs", {})
    is_same = inputs.get("artifact", {}).get("sha256") == lineage.hash_artifact(artifact)
    return float(data.nll.sum(dtype=np.float64) / np.log(2)) if is_same and len(data.nll) == n_targets else None


def _render_report(encoded: EncodedText, report: dict[str, Any]) -> str:
    n_bytes = len(encoded.data)
    rate, speed = (
        format_figure(report[key], spec) for key, spec in {"bits_per_byte": ".4f", "tokens_per_s": ",.0f"}.items()
    )
    lines = [
        f"{report['out']}: {n_bytes:,} bytes for {encoded.text_bytes:,}, {rate} bits a byte",
        f"  mode {report['mode']}, {encoded.n_targets:,} tokens in {encoded.seconds:.1f} s, {speed} a second",
        f"  tokens {encoded.code_bits / 8:,.0f} bytes by their code length, "
        f"what the normalizer changes {encoded.side_bytes:,}",
    ]
    if (claimed_bits := report["claimed_bits"]) is not None:
        excess = f"{8 * n_bytes / claimed_bits - 1:+.3%}"
        lines.append(f"  claimed by the ledger {claimed_bits / 8:,.0f} bytes: the file has {excess}")
    return "\n".join(lines)
