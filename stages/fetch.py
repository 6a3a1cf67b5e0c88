"""Get the text, split it, learn the tokenizer on the train split, write the shards."""

from golf.data import corpus, hub_corpus, shards
from golf.ground import params, stage, store

TRAIN = "artifacts/fetch/train"
DEV = "artifacts/fetch/dev"
VAL = "artifacts/fetch/val"
TOKENIZER = "artifacts/fetch/tokenizer.model"
METRICS = "artifacts/fetch/metrics.json"
MANIFEST = "artifacts/fetch/manifest.json"


def main() -> None:
    fetch, hub, vocabulary = params.load("fetch", "hub", "model.vocabulary")
    with shards.publishing(TRAIN, DEV, VAL, TOKENIZER, METRICS, MANIFEST) as work:
        if fetch.source == "hub":
            manifest = hub_corpus.build(fetch, hub, vocabulary, work)
        else:
            manifest = corpus.build(fetch, vocabulary, work)
        store.write_json(work / "metrics.json", corpus.metrics(manifest))


if __name__ == "__main__":
    stage.enter("fetch", main)
