"""Fetch: read a corpus, split it, train the tokenizer on the train split, write token shards."""

from golf.artifacts import io
from golf.config import loader
from golf.data import prepare
from golf.data.hub import prepare as hub_prepare
from golf.pipeline import runner

TRAIN_DIR = "artifacts/fetch/train"
DEV_DIR = "artifacts/fetch/dev"
VAL_DIR = "artifacts/fetch/val"
TOKENIZER_PATH = "artifacts/fetch/tokenizer.model"
METRICS_PATH = "artifacts/fetch/metrics.json"
MANIFEST_PATH = "artifacts/fetch/manifest.json"


def main() -> None:
    fetch_cfg, hub_cfg, vocab_size = loader.load_sections("fetch", "hub", "model.vocab_size")
    with io.replace_together(TRAIN_DIR, DEV_DIR, VAL_DIR, TOKENIZER_PATH, METRICS_PATH, MANIFEST_PATH) as work_dir:
        if fetch_cfg.source == "hub":
            manifest = hub_prepare.build_dataset(fetch_cfg, hub_cfg, vocab_size, work_dir)
        else:
            manifest = prepare.build_dataset(fetch_cfg, vocab_size, work_dir)
        io.write_json(work_dir / "metrics.json", prepare.summarize_manifest(manifest))


if __name__ == "__main__":
    runner.run_stage("fetch", main)
