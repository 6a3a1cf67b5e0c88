"""Get the text, split it, learn the tokenizer on the train split, write the shards."""

from golf.artifacts import io
from golf.config import loader
from golf.data import prepare, split_reader
from golf.data.hub import prepare as hub_prepare
from golf.pipeline import runner

TRAIN = "artifacts/fetch/train"
DEV = "artifacts/fetch/dev"
VAL = "artifacts/fetch/val"
TOKENIZER = "artifacts/fetch/tokenizer.model"
METRICS = "artifacts/fetch/metrics.json"
MANIFEST = "artifacts/fetch/manifest.json"


def main() -> None:
    fetch_cfg, hub_cfg, vocab_size = loader.load_sections("fetch", "hub", "model.vocab_size")
    with split_reader.replace_together(TRAIN, DEV, VAL, TOKENIZER, METRICS, MANIFEST) as work_dir:
        if fetch_cfg.source == "hub":
            manifest = hub_prepare.build_dataset(fetch_cfg, hub_cfg, vocab_size, work_dir)
        else:
            manifest = prepare.build_dataset(fetch_cfg, vocab_size, work_dir)
        io.write_json(work_dir / "metrics.json", prepare.summarize_manifest(manifest))


if __name__ == "__main__":
    runner.run_stage("fetch", main)
