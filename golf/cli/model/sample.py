"""``golf sample``: a continuation of a prompt, printed as it is drawn."""

import dataclasses
import json
import sys
from pathlib import Path

from golf.evaluation import loaded_model
from golf.evaluation.loaded_model import GeneratedToken, LoadedModel
from golf.evaluation.sampling import SamplingConfig

__all__ = ["sample_text"]


def sample_text(artifact: Path, tokenizer: Path | None, prompt: str, sampling: SamplingConfig, *, as_json: bool) -> str:
    """Print the prompt and its continuation token by token; return the end of what is printed.

    as_json: print nothing before; the returned object then holds the whole text. tokenizer: None for the one beside the
    artifact.
    Raises ArtifactError, InputError and DivergenceError as ``golf.load`` and ``LoadedModel.generate`` do, and
    BrokenPipeError when the reader of stdout has ended.
    """
    model = loaded_model.load(artifact, tokenizer)
    prompt = model.normalize(prompt)
    n_prompt = len(model.encode(prompt)) - 1
    if n_prompt >= model.config.context_length:
        seen = f"the prompt has {n_prompt:,} tokens, of which the model sees the last {model.config.context_length:,}"
        print(f"golf sample: {seen} at most", file=sys.stderr)
    generated = []
    _print_part(prompt, is_shown=not as_json)
    for token in model.generate(prompt, **dataclasses.asdict(sampling)):
        generated.append(token)
        _print_part(token.text, is_shown=not as_json)
    return _render_json(model, artifact, prompt, n_prompt, generated, sampling) if as_json else ""


def _print_part(text: str, *, is_shown: bool) -> None:
    if is_shown:
        print(text, end="", flush=True)


def _render_json(
    model: LoadedModel,
    artifact: Path,
    prompt: str,
    n_prompt: int,
    generated: list[GeneratedToken],
    sampling: SamplingConfig,
) -> str:
    is_end = bool(generated) and generated[-1].token == model.tokenizer.bos
    report = {
        "artifact": str(artifact),
        "prompt": prompt,
        "prompt_tokens": n_prompt,
        "context_length": model.config.context_length,
        **dataclasses.asdict(sampling),
        "text": "".join(token.text for token in generated),
        "tokens": [token.token for token in generated],
        "log_probs": [round(token.log_prob, 6) for token in generated],
        "stopped_by": "document_end" if is_end else "max_tokens",
    }
    return json.dumps(report, indent=2)
