"""Encode a text with an artifact's own distributions, and decode it: the proof that the claimed bits are enough.

Both sides make the same pass (``token_stream``) with the same predictor, so the decoder needs the artifact, the
tokenizer and the plan, and never the text. It checks them against the header before it begins, the tokens against the
checksums on the way, and the text against its digest at the end.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golf.artifacts import io
from golf.config.adaptation import TTTPlan
from golf.config.sections import MemoryConfig
from golf.data import normalize, transforms
from golf.data.tokenizer import Tokenizer
from golf.distributed.context import single_process
from golf.errors import ArtifactError, InputError
from golf.evaluation.ledger import Ledger
from golf.evaluation.pass_settings import PassSettings
from golf.evaluation.text_codec import container, fingerprint, patches
from golf.evaluation.text_codec.container import TextHeader
from golf.evaluation.text_codec.next_token import make_source
from golf.evaluation.text_codec.range_coder import DivergedError, TokenCoder, TokenDecoder, TokenEncoder
from golf.evaluation.text_codec.token_stream import code_stream
from golf.inference.predictor import GolfPredictor
from golf.pipeline.progress import Progress, format_count

__all__ = ["EncodedText", "PassConfig", "TextCodec"]

_DOCUMENT_END = b"\n"  # no normalized text holds one, so a split is written with one document a line
_MAX_THREADS = 255
_OWN_HINTS = {
    "artifact": "give the .golf file that it was encoded with as --artifact",
    "tokenizer": "give its tokenizer as --tokenizer",
    "settings": "give its plan as --plan, and params.yaml its evaluate.stride",
    "torch": "install that torch",
    "libraries": "install the versions with which it was encoded",
    "cpu": "decode on such a CPU",
}


@dataclass(frozen=True, kw_only=True)
class PassConfig:
    """How a pass scores and learns: what ``scoring_loop.evaluate_mode`` takes."""

    mode: str
    stride: int
    ttt_cfg: TTTPlan
    memory_cfg: MemoryConfig


@dataclass(frozen=True, kw_only=True)
class EncodedText:
    """An encoded text and what it cost.

    data: the file. text_bytes: of the text. n_targets: its tokens. code_bits: of these by their nll. side_bytes: what
    the tokens do not hold. seconds: of the pass.
    """

    data: bytes
    text_bytes: int
    n_targets: int
    code_bits: float
    side_bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON: bits, bytes, seconds and what follows from them."""
        return {
            "text_bytes": self.text_bytes,
            "encoded_bytes": len(self.data),
            "side_bytes": self.side_bytes,
            "tokens": self.n_targets,
            "code_bits": round(self.code_bits, 3),
            "bits_per_byte": round(8 * len(self.data) / self.text_bytes, 6) if self.text_bytes else None,
            "seconds": round(self.seconds, 3),
            "tokens_per_s": round(self.n_targets / self.seconds, 1) if self.n_targets else None,
        }


class TextCodec:
    """An artifact with its tokenizer, ready to encode and decode. It runs on the CPU in fp32, uncompiled."""

    def __init__(self, artifact: Path | str, tokenizer: Tokenizer, transform_name: str, *, quiet: bool = False) -> None:
        """Raises ArtifactError for a damaged artifact, InputError for a tokenizer that is not the model's."""
        self._artifact_path, self._tokenizer, self._quiet = Path(artifact), tokenizer, quiet
        self._transform = transforms.get_transform(transform_name)
        self._predictor = GolfPredictor.open(str(artifact), single_process(), eval_batch_tokens=1)
        self._model_cfg = self._predictor.model.cfg
        if tokenizer.vocab_size != self._model_cfg.vocab_size:
            raise InputError(
                f"{tokenizer.name}: has {tokenizer.vocab_size} pieces, {artifact} has {self._model_cfg.vocab_size}; "
                f"{_OWN_HINTS['tokenizer']}"
            )
        self._artifact_hash = fingerprint.compute_short_hash(io.sha256_file(artifact))
        self._tokenizer_hash = fingerprint.compute_short_hash(f"{tokenizer.sha256} {transform_name}")
        ids = np.arange(tokenizer.vocab_size)
        self._piece_bytes = np.array([len(piece) for piece in tokenizer.ids_to_bytes(ids)], np.int32)

    @property
    def context_length(self) -> int:
        """Tokens that the model sees at once."""
        return self._model_cfg.context_length

    def encode(self, text: bytes, pass_cfg: PassConfig, *, uses_predict: bool = False) -> EncodedText:
        """Encode any bytes as one document. uses_predict: predict each token from scratch, see ``next_token``."""
        normalized = self._transform.encode(normalize.normalize(text.decode(errors="ignore")))
        (tokens,) = self._tokenizer.encode([normalized])
        base = self._detokenize(tokens)
        side_information = patches.pack_patches(base, patches.find_patches(base, text))
        return self._encode_tokens(tokens, text, side_information, pass_cfg, is_split=False, uses_predict=uses_predict)

    def encode_split(self, tokens: np.ndarray, pass_cfg: PassConfig, *, uses_predict: bool = False) -> EncodedText:
        """Encode a split's tokens, uint16 [N]. Its text is that of its documents, one a line."""
        text = self._join_documents(tokens)
        return self._encode_tokens(tokens, text, b"", pass_cfg, is_split=True, uses_predict=uses_predict)

    def decode(self, path: Path | str, data: bytes, pass_cfg: PassConfig) -> tuple[bytes, float]:
        """Return (the text, the seconds of the pass). pass_cfg: its mode is ignored, as the file names its own.

        path: named in messages. Raises ArtifactError for a file that is damaged, or was encoded with another artifact,
        tokenizer, plan, library or CPU.
        """
        header, side_information, code = container.parse(path, data)
        pass_cfg = dataclasses.replace(pass_cfg, mode=header.mode)
        own = self._make_header(
            pass_cfg, header.n_targets, digest=header.digest, is_split=header.is_split, uses_predict=header.uses_predict
        )
        self._require_same(path, header, own)
        tokens = np.zeros(header.n_targets + 1, np.uint16)
        tokens[0] = self._tokenizer.bos
        try:
            with fingerprint.use_threads(header.threads):
                coder = TokenDecoder(self._model_cfg.vocab_size, code)
                _, seconds = self._run_pass(coder, tokens, pass_cfg, "decode", uses_predict=header.uses_predict)
            if header.is_split:
                text = self._join_documents(tokens)
            else:
                base = self._detokenize(tokens)
                text = patches.apply_patches(base, patches.unpack_patches(base, side_information))
        except (DivergedError, patches.PatchError):  # the file is whole, so these are other tokens than were coded
            text = None
        if text is None or container.hash_text(text) != header.digest:
            problem = "does not decode to the text that was encoded: the arithmetic on this machine differs"
            raise ArtifactError(path, problem, f"decode it where it was encoded; this is {fingerprint.describe_cpu()}")
        return text, seconds

    def _encode_tokens(
        self,
        tokens: np.ndarray,
        text: bytes,
        side_information: bytes,
        pass_cfg: PassConfig,
        *,
        is_split: bool,
        uses_predict: bool,
    ) -> EncodedText:
        coder = TokenEncoder(self._model_cfg.vocab_size, tokens[1:].tolist())
        known = np.zeros_like(tokens)  # the pass itself sees no token that it has not coded
        known[0] = tokens[0]
        header = self._make_header(
            pass_cfg, len(tokens) - 1, digest=container.hash_text(text), is_split=is_split, uses_predict=uses_predict
        )
        with fingerprint.use_threads(header.threads):
            bits, seconds = self._run_pass(coder, known, pass_cfg, "encode", uses_predict=uses_predict)
        data = container.pack(header, side_information, coder.to_bytes())
        return EncodedText(
            data=data,
            text_bytes=len(text),
            n_targets=len(tokens) - 1,
            code_bits=bits,
            side_bytes=len(side_information),
            seconds=seconds,
        )

    def _run_pass(
        self, coder: TokenCoder, tokens: np.ndarray, pass_cfg: PassConfig, name: str, *, uses_predict: bool
    ) -> tuple[float, float]:
        """(bits of the pass by the nll, its seconds)"""
        begin_s = time.perf_counter()
        settings = self._make_settings(pass_cfg, len(tokens) - 1)
        settings.begin_pass(self._predictor)
        source = make_source(self._predictor, stride=settings.stride, uses_predict=uses_predict)
        progress = Progress(name, len(tokens) - 1, f"tokens {pass_cfg.mode}", quiet=self._quiet)
        bits = code_stream(
            self._predictor,
            source,
            coder,
            tokens,
            Ledger(pass_cfg.mode, self._tokenizer.bos),
            piece_bytes=self._piece_bytes,
            chunk_tokens=pass_cfg.ttt_cfg.chunk_tokens,
            progress=progress,
        )
        seconds = time.perf_counter() - begin_s
        progress.finish(f"{pass_cfg.mode}: {format_count(len(tokens) - 1, 'token')} in {seconds:.1f} s")
        return bits, seconds

    def _make_settings(self, pass_cfg: PassConfig, n_targets: int) -> PassSettings:
        return PassSettings.for_mode(
            pass_cfg.mode,
            n_chunks=-(-n_targets // pass_cfg.ttt_cfg.chunk_tokens),  # rounded up
            ttt_cfg=pass_cfg.ttt_cfg,
            memory_cfg=pass_cfg.memory_cfg,
            stride=pass_cfg.stride,
            context_length=self.context_length,
            order="stream",
        )

    def _make_header(
        self, pass_cfg: PassConfig, n_targets: int, *, digest: bytes, is_split: bool, uses_predict: bool
    ) -> TextHeader:
        settings = dataclasses.asdict(self._make_settings(pass_cfg, n_targets))
        facts = json.dumps(settings | {"chunk_tokens": pass_cfg.ttt_cfg.chunk_tokens}, sort_keys=True)
        return TextHeader(
            mode=pass_cfg.mode,
            is_split=is_split,
            uses_predict=uses_predict,
            threads=min(torch.get_num_threads(), _MAX_THREADS),
            torch=fingerprint.get_torch_version(),
            artifact=self._artifact_hash,
            tokenizer=self._tokenizer_hash,
            settings=fingerprint.compute_short_hash(facts),
            libraries=fingerprint.hash_libraries(),
            cpu=fingerprint.hash_cpu(),
            digest=digest,
            n_targets=n_targets,
        )

    def _require_same(self, path: Path | str, header: TextHeader, own: TextHeader) -> None:
        """Raises ArtifactError, which names what differs first, unless the file was encoded as this would encode it."""
        if not (differences := header.find_differences(own)):
            return
        descriptions = {
            "artifact": f"artifact ({self._artifact_path} is not its)",
            "tokenizer": f"tokenizer ({self._tokenizer.name} is not its)",
            "settings": "plan",
            "torch": f"torch: {'.'.join(map(str, header.torch))}, not {torch.__version__}",
            "libraries": "version of numpy, constriction, sentencepiece, brotli or build of torch",
            "cpu": f"CPU than this {fingerprint.describe_cpu()}",
        }
        first = differences[0]
        raise ArtifactError(path, f"was encoded with another {descriptions[first]}", _OWN_HINTS[first])

    def _detokenize(self, tokens: np.ndarray) -> bytes:
        """The UTF-8 of one document as its tokens stand for it, whether or not that is text."""
        pieces = self._tokenizer.ids_to_bytes(tokens)
        text = self._transform.decode_pieces(pieces)
        return b"".join(pieces) if text is None else text.encode()

    def _join_documents(self, tokens: np.ndarray) -> bytes:
        starts = np.flatnonzero(tokens == self._tokenizer.bos)
        return b"".join(self._detokenize(ids) + _DOCUMENT_END for ids in np.split(tokens, starts[1:]))
