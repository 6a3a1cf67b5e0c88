"""Get the text, split it, learn the tokenizer on the train split, write the shards."""

from golf.data import corpus, shards
from golf.ground import params, stage, store

TRAIN = "artifacts/fetch/train"
DEV = "artifacts/fetch/dev"
VAL = "artifacts/fetch/val"
TOKENIZER = "artifacts/fetch/tokenizer.model"
METRICS = "artifacts/fetch/metrics.json"
MANIFEST = "artifacts/fetch/manifest.json"


def main() -> None:
    fetch, vocabulary = params.load("fetch", "model.vocabulary")
    with shards.publishing(TRAIN, DEV, VAL, TOKENIZER, METRICS, MANIFEST) as work:
        manifest = corpus.build(fetch, vocabulary, work)
        store.write_json(work / "metrics.json", corpus.metrics(manifest))


if __name__ == "__main__":
    stage.enter("fetch", main)
