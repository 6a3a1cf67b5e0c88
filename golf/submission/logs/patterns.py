"""The lines of the contest's script lineages: a table of patterns, one row for each fact.

The text is untrusted. Each pattern scans it once, as a whole, in the regex engine: every repetition is bounded,
possessive or has a unique starting point, so that time is linear, however short or long the lines are.
"""

import re

__all__ = [
    "BARE_MENTION",
    "CRASH",
    "EVAL_SECONDS",
    "FACT_PATTERNS",
    "FACT_WORDS",
    "GPU",
    "HESSIANS",
    "HESSIAN_SECONDS",
    "INTERMEDIATE_NAME",
    "MACHINE_SETTING",
    "MEASUREMENT",
    "NONFINITE",
    "RUN_EVENT",
    "SCORE",
    "SECONDS_PER_UNIT",
    "SETTING",
    "STEP_PREFIX",
    "VAL_IN_TRAIN",
]

SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "sec": 1.0, "seconds": 1.0, "m": 60.0, "min": 60.0}
_GAP = r"[^\S\n]*+"  # white space within a line
_SPACE = r"[^\S\n]"
_NUMBER = r"(\d[\d,_]{0,39})"
_DURATION = r"([\d.]{1,40})"
_UNIT = r"(ms|seconds|sec|s|min|m)\b"
_IS = rf"{_GAP}[:=]{_GAP}"
_STEP_WORD = r"(?:step|iter|iteration)[:= ]{1,2}"

STEP_PREFIX = re.compile(rf"(?i)(?:{_STEP_WORD}\d{{1,20}}|\d{{1,20}}/\d{{1,20}}\b)")
_FACT_REGEXES = {  # a literal comes first where it can, which the engine finds fast
    "step": rf"^(?:(?:{_STEP_WORD}(?=\d{{1,20}}(?:/\d{{1,20}})?(?:{_SPACE}|[:,|]).{{0,200}}?(?:loss|\bt:))"
    rf"|(?=\d{{1,20}}/\d{{1,20}} \w{{1,60}}_loss))|stopping_early\b.{{0,80}}\bstep:{_GAP})(\d{{1,20}})(?:/\d|\b)",
    "train_seconds": rf"(?:\btrain(?:ing)?[_ ]time:|^step:\d{{1,20}}/\d{{1,20}}\b.{{0,200}}?\bt:){_GAP}{_DURATION}"
    rf"{_SPACE}?{_UNIT}",
    "serialize_seconds": rf"\b(?:serialize|artifact_production)_wallclock[:=]{_GAP}{_DURATION}{_SPACE}?{_UNIT}",
    "eval_seconds": rf"^total_eval_time[:=]{_GAP}{_DURATION}{_SPACE}?{_UNIT}",
    "seed": rf"(?i)^{_GAP}(?:random_|train_)?seed{_IS}(\d{{1,20}}){_GAP}$|"
    rf"^(?:config|args|settings|run)\b.{{0,300}}?\bseed[:=](\d{{1,20}})\b",
    "train_shards": rf"\btrain[_ ]shards(?: files)?{_IS}{_NUMBER}",
    "val_tokens": rf"(?i)^{_GAP}(?:"
    rf"(?:num_|total_|n_)?val(?:idation)?[_ ]tokens?(?:[_ ](?:loaded|total|count)|){_IS}{_NUMBER}"
    rf"|val_loader:.*\btokens:{_GAP}{_NUMBER}"
    rf"|loaded {_NUMBER} val(?:idation)?[_ ]tokens)",
    "model_params": rf"(?i)^{_GAP}(?:(?:model|total|num|n)_params|(?:model|total)? ?parameters){_IS}{_NUMBER}",
    "world_size": rf"^{_GAP}world_size{_IS}(\d{{1,20}})",
    "model_bytes": rf"(?i)^(?:Serialized model [^:\n]{{1,80}}"
    rf"|(?:packed|compressed|quantized) model(?: size)?|model_bytes)"
    rf"{_IS}{_NUMBER}",
    "code_bytes": rf"(?i)^(?:Code size(?: \((?!uncompressed)[^)\n]{{0,80}}\))?|code_bytes|bytes_code){_IS}{_NUMBER}",
    "raw_code_bytes": rf"(?i)^Code size \(uncompressed\){_IS}{_NUMBER}",
    "total_bytes": rf"(?i)^(?:Total submission size [^:\n]{{1,80}}"
    rf"|total_bytes|bytes_total|artifact_bytes){_IS}{_NUMBER}",
    "unqualified_total_bytes": rf"(?i)^Total submission size{_IS}{_NUMBER}",  # mostly before quantization
}
FACT_PATTERNS = {
    name: re.compile(f"(?m{'i' if pattern.startswith('(?i)') else ''}){pattern.removeprefix('(?i)')}")
    for name, pattern in _FACT_REGEXES.items()
}
FACT_WORDS = {  # in lower case, without which a text cannot state the fact
    "step": "",
    "train_seconds": ":",
    "serialize_seconds": "wallclock",
    "eval_seconds": "total_eval_time",
    "seed": "seed",
    "train_shards": "shards",
    "val_tokens": "tokens",
    "model_params": "param",
    "world_size": "world_size",
    "model_bytes": "model",
    "code_bytes": "code",
    "raw_code_bytes": "uncompressed",
    "total_bytes": "t",
    "unqualified_total_bytes": "total submission size",
}
HESSIANS = re.compile(r"(?i)\bcollected\b.{0,40}?\bhessians\b")
HESSIAN_SECONDS = re.compile(r"(?<![\d.])([\d.]++)[^\S\n]?(ms|s)\b")
# A row of the table of nvidia-smi, which calls the SXM form "H100 80GB HBM3".
GPU = re.compile(r"NVIDIA (?<=\bNVIDIA )([A-Z][\w-]{0,40}(?: [\w-]{1,40}){0,6}?)[^\S\n]{2}")

_VALUE = r"(\d{1,9}\.\d{1,40}(?!\w)|[+-]?(?i:nan|inf(?:inity)?)\b)"
_BETWEEN = rf"(?:{_SPACE}*+[,|;])?{_SPACE}++"
SCORE = re.compile(
    rf"val_(?:loss(?<=\bval_loss){_IS}{_VALUE}{_BETWEEN}val_bpb{_IS}{_VALUE}"
    rf"|bpb(?<=\bval_bpb){_IS}{_VALUE}{_BETWEEN}val_loss{_IS}{_VALUE})"
)
BARE_MENTION = re.compile(rf"bpb{_IS}(\d{{1,9}}\.\d{{3,40}})(?!\w)")
EVAL_SECONDS = re.compile(rf"\b(?:eval_time|elapsed|time|t)[:=]{_GAP}{_DURATION}{_SPACE}?{_UNIT}")
INTERMEDIATE_NAME = re.compile(r"(?i)\d/\d|diagnostic|pre-?quant|post_ema|\bema\b|warm-?up")
NONFINITE = re.compile(rf"(?:loss|bpb|time)[:=]{_GAP}[+-]?(?i:nan|inf(?:inity)?)\b")
# A loader of training data that is pointed at val's shards.
VAL_IN_TRAIN = re.compile(
    r"(?m)^[^\S\n]*+(?:train_files|train_pattern|train_glob|train_data\w{0,20}|train_loader)[:=][^\S\n]*+\S{0,300}?fineweb_val_"
)
CRASH = re.compile(
    r"(?m)^(?:.{0,60}?Traceback \(most recent call last\)"
    r"|(?:\w{1,60}\.){0,6}\w{0,60}(?:Error|Exception|Interrupt)(?::|$)"
    r"|.{0,80}?(?:Segmentation fault|core dumped|CUDA out of memory|ChildFailedError)|Killed\b|Terminated\b)"
)

SETTING = re.compile(rf"(?m)^(?:{_SPACE}++(\w++):{_GAP}(.*)|(\w++:\S++(?:{_SPACE}\w++:\S++)*+))$")
MACHINE_SETTING = re.compile(
    r"(?i)(?:\w*_)?seed|run_?id|(?:local_)?rank|log_?file|is_main_process|.*(?:path|dir|files?|root|device|host|hostname"
    r"|port|addr|uuid|pid|timestamp|date|commit|git_sha|name)"
)
# In a row of ``key:value`` pairs, what a run measures and does not choose.
MEASUREMENT = re.compile(
    r"(?i)(?:\w*_)?(?:loss|bpb|time|elapsed|avg|lr|ppl|mfu|eta)|step|iter|iteration|epoch|t|ms|s|peak\w*|mem\w*"
)
# Where a run may begin, a training step, and the end of an evaluation; ``runs.split_runs`` reads them in order.
RUN_EVENT = re.compile(
    rf"(?m)^(?:(?P<start>Hyperparameters:|{_GAP}model_params\b|{_GAP}seed{_IS}\d|train_loader:|val_bpb:enabled)"
    rf"|(?:{_STEP_WORD})?(?P<step>\d{{1,9}})(?:/\d{{1,9}}\b)(?=.{{0,200}}?(?:loss|\bt:))"
    rf"|{_STEP_WORD}(?P<bare_step>\d{{1,9}})\b(?=.{{0,200}}?loss)"
    rf"|(?P<crash>Traceback \(most recent call last\))"
    rf"|(?P<score>[A-Za-z][^\n]{{0,300}}?\bval_loss{_IS}\d{{1,9}}\.))"
)
