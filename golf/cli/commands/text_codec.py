"""``golf encode`` and ``golf decode``: the artifact as a compressor."""

import argparse
from pathlib import Path

from golf.cli.commands.outcomes import UsageError
from golf.cli.commands.scoring_modes import MODES

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands' parsers."""
    encode = commands.add_parser(
        "encode",
        help="compress a text losslessly with the artifact",
        epilog="example: golf encode notes.txt --out notes.golfz",
        description="Compress any file, or a split of fetch, losslessly with the artifact's own distributions and a "
        "range coder. The size follows from the claimed bits per byte, so decoding proves the claim.",
    )
    encode.add_argument("file", nargs="?", type=Path, metavar="FILE", help="any bytes; or give --split")
    encode.add_argument(
        "--split", choices=("dev", "val"), help="encode this split's tokens; its text: a document a line"
    )
    encode.add_argument("--mode", choices=MODES, help="scoring mode; default: evaluate.headline")
    encode.add_argument(
        "--predict", action="store_true", help="predict each token from scratch, keeping no keys or values: much slower"
    )
    _add_codec_options(encode, out_help="default: FILE.golfz, or SPLIT.txt.golfz")
    encode.set_defaults(run=_run_encode)

    decode = commands.add_parser(
        "decode",
        help="give back the text that golf encode compressed",
        epilog="example: golf decode notes.golfz --out notes.txt",
        description="Give back the text that golf encode compressed, byte for byte. A damaged file, another artifact "
        "or a machine that computes differently is refused.",
    )
    decode.add_argument("file", type=Path, metavar="FILE", help="written by golf encode")
    _add_codec_options(decode, out_help="default: FILE without .golfz")
    decode.set_defaults(run=_run_decode)


def _add_codec_options(parser: argparse.ArgumentParser, *, out_help: str) -> None:
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help=out_help)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    paths = {
        "artifact": "artifacts/compress/model.golf",
        "tokenizer": "artifacts/fetch/tokenizer.model",
        "plan": "artifacts/ttt/plan.json",
    }
    for name, path in paths.items():
        parser.add_argument(f"--{name}", default=path, type=Path, metavar="PATH", help="%(default)s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


# The commands import what they use, so that each starts fast.


def _run_encode(args: argparse.Namespace) -> str:
    """Raises UsageError unless either a file or a split is named."""
    from golf.cli import text_codec

    if (args.file is None) == (args.split is None):
        raise UsageError("expected either FILE or --split")
    files = text_codec.CodecFiles(artifact=args.artifact, tokenizer=args.tokenizer, plan=args.plan)
    return text_codec.encode_file(
        files,
        args.file,
        args.split,
        args.out,
        mode=args.mode,
        uses_predict=args.predict,
        force=args.force,
        as_json=args.json,
    )


def _run_decode(args: argparse.Namespace) -> str:
    from golf.cli import text_codec

    files = text_codec.CodecFiles(artifact=args.artifact, tokenizer=args.tokenizer, plan=args.plan)
    return text_codec.decode_file(files, args.file, args.out, force=args.force, as_json=args.json)
