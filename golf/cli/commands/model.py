"""``golf sample`` and ``golf export``: the artifact as a model, here and in other programs."""

import argparse
from pathlib import Path

from golf.cli.commands.outcomes import UsageError

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands' parsers."""
    _add_sample(commands)
    _add_export(commands)


def _add_sample(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sample = commands.add_parser(
        "sample",
        help="continue a text with the artifact, token by token",
        epilog='example: golf sample --prompt "Return the sum of" --max-tokens 50 --temperature 0.8 --seed 1',
        description="Continue a text with the artifact, token by token, until the document ends. The prompt is "
        "normalized as the text that the artifact was trained on, and printed first. The same arguments give the same "
        "text on the same machine.",
    )
    sample.add_argument("--prompt", default="", metavar="TEXT", help="what to continue; default: a new document")
    sample.add_argument("--max-tokens", default=256, type=int, metavar="N", help="at most so many (%(default)s)")
    sample.add_argument(
        "--temperature",
        default=1.0,
        type=float,
        metavar="X",
        help="below 1 the likely tokens become likelier; 0 takes the likeliest (%(default)s)",
    )
    sample.add_argument(
        "--top-p", default=1.0, type=float, metavar="P", help="draw from the likeliest with this share (%(default)s)"
    )
    sample.add_argument("--seed", default=0, type=int, metavar="N", help="of the random numbers (%(default)s)")
    _add_model_options(sample)
    sample.add_argument("--json", action="store_true", help="print the text and its tokens as JSON, at the end")
    sample.set_defaults(run=_run_sample)


def _add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = commands.add_parser(
        "export",
        help="write the artifact's weights for other programs",
        epilog="example: golf export --format safetensors exported",
        description="Write the weights that the artifact stands for, in full precision, with the model's configuration "
        "and its tokenizer, into a new folder. Plain torch loads it: docs/quickstart.md.",
    )
    export.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder")
    export.add_argument("--format", choices=("safetensors",), default="safetensors", help="default: %(default)s")
    _add_model_options(export)
    export.add_argument("--json", action="store_true", help="print the figures as JSON")
    export.set_defaults(run=_run_export)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--artifact", default="artifacts/compress/model.golf", type=Path, metavar="PATH", help="%(default)s"
    )
    parser.add_argument(
        "--tokenizer", type=Path, metavar="PATH", help="default: tokenizer.model beside the artifact or in ../fetch"
    )


# The commands import what they use, so that each starts fast.


def _run_sample(args: argparse.Namespace) -> str:
    """Raises UsageError for a value out of range."""
    from golf.cli.model import sample
    from golf.errors import InputError
    from golf.evaluation.sampling import SamplingConfig

    try:
        sampling = SamplingConfig(
            max_tokens=args.max_tokens, temperature=args.temperature, top_p=args.top_p, seed=args.seed
        )
    except InputError as error:  # it names the parameter as in Python
        name, _, problem = str(error).partition(" ")
        raise UsageError(f"--{name.replace('_', '-')} {problem}") from None
    return sample.sample_text(args.artifact, args.tokenizer, args.prompt, sampling, as_json=args.json)


def _run_export(args: argparse.Namespace) -> str:
    from golf.cli.model import export

    return export.export_safetensors(args.artifact, args.tokenizer, args.folder, as_json=args.json)
