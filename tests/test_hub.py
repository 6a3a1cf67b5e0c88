"""golf/data/hub.py"""

import json

import pytest
from hub_exports import VOCABULARY, asked, caseops, small
from hub_server import FOLDER, MANIFEST, MODEL, REPO

from golf.data import hub
from golf.data.hub import Remote
from golf.ground.errors import BadArtifact, BadInput


@pytest.fixture(scope="module")
def made():
    return small()


def listed(files) -> dict[str, Remote]:
    return {path: Remote(path, len(data), None) for path, data in files.items()}


def choose(files, path=MANIFEST, vocabulary=VOCABULARY, **changes):
    return hub.choose(asked(**changes), listed(files), path, files.get(path, b""), vocabulary)


def names(files: list[Remote]) -> list[str]:
    return [remote.path.rpartition("/")[2] for remote in files]


def test_the_first_train_shards_and_all_of_val_are_chosen(made):
    found = choose(made.files, train_shards=2)
    assert names(found.train) == ["fineweb_train_000000.bin", "fineweb_train_000001.bin"]
    assert names(found.val) == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]
    assert (found.sidecar, found.tokenizer.path, found.whole) == ([], MODEL, False)
    assert choose(made.files, train_shards=made.shards).whole
    assert found.stats["docs_val"] == 12
    assert {remote.path for remote in found.files} < made.files.keys()


def test_a_sidecar_is_never_counted_as_val():
    found = choose(caseops().files, None, variant="sp384_caseops")
    assert names(found.val) == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]
    assert names(found.sidecar) == ["fineweb_val_bytes_000000.bin", "fineweb_val_bytes_000001.bin"]
    assert (found.transform, found.tokenizer.path) == ("caseops", "data/tokenizers/fineweb_384_bpe_caseops.model")


def test_the_manifest_lies_beside_the_data_sets_or_at_the_top(made):
    plain = listed(made.files)
    assert hub.manifest_of(plain) == plain[MANIFEST]
    top = {path.removeprefix("datasets/"): data for path, data in made.files.items()}
    assert hub.manifest_of(listed(top)).path == "manifest.json"
    assert choose(top, "manifest.json").tokenizer.path == MODEL.removeprefix("datasets/")
    assert hub.manifest_of(listed({MODEL: b""})) is None


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (f"{FOLDER}/fineweb_val_000000.bin", "lacks fineweb_val_000000.bin"),
        (f"{FOLDER}/fineweb_train_000003.bin", "lacks fineweb_train_000003.bin"),
        (f"{FOLDER}/fineweb_val_000001.bin", "has 1 val shards, its manifest says 2"),
        (MODEL, "the tokenizer is not in the repository"),
    ],
)
def test_a_repository_that_lacks_what_its_manifest_names_is_refused(made, lost, words):
    with pytest.raises(BadArtifact, match=words):
        choose({path: data for path, data in made.files.items() if path != lost})


def test_a_sidecar_for_a_part_of_val_is_refused():
    files = caseops().files
    del files["data/fineweb10B_sp384_caseops/fineweb_val_bytes_000001.bin"]
    with pytest.raises(BadArtifact, match="has 1 sidecars for 2 val shards"):
        choose(files, None, variant="sp384_caseops")


def test_more_train_shards_than_there_are_name_the_key_and_the_number(made):
    with pytest.raises(BadInput, match=r"hub\.train_shards: 10, sp384 has 9; ask for that or fewer"):
        choose(made.files, train_shards=10)


def test_an_unknown_variant_names_those_that_are_there(made):
    with pytest.raises(BadInput, match=rf"hub\.variant: sp1 is not in {REPO}, which has sp384"):
        choose(made.files, variant="sp1")
    with pytest.raises(BadInput, match="which has sp384_caseops"):
        choose(caseops().files, None, variant="sp384")
    with pytest.raises(BadInput, match="which has no shards at all"):
        choose({"README.md": b""}, None)


def test_a_repository_without_a_manifest_and_with_two_tokenizers_is_refused():
    files = caseops().files | {"data/tokenizers/other_caseops.model": b""}
    with pytest.raises(BadArtifact, match="has no manifest and 2 tokenizers"):
        choose(files, None, variant="sp384_caseops")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"datasets": 1}', b'{"datasets": [{}], "tokenizers": []}', b"{\xff"])
def test_what_is_no_manifest_is_refused(made, data):
    with pytest.raises(BadArtifact, match=rf"{MANIFEST}: not a manifest"):
        choose(made.files | {MANIFEST: data})


@pytest.mark.parametrize("key", ["path", "tokenizer_name", "vocab_size", "stats"])
def test_a_variant_that_the_manifest_tells_too_little_of_is_refused(made, key):
    tree = json.loads(made.files[MANIFEST])
    del tree["datasets"][0][key]
    with pytest.raises(BadArtifact, match="what it says of sp384 lacks"):
        choose(made.files | {MANIFEST: json.dumps(tree).encode()})


def test_a_total_that_is_no_number_is_named(made):
    tree = json.loads(made.files[MANIFEST])
    tree["datasets"][0]["stats"]["docs_val"] = "50000"
    with pytest.raises(BadArtifact, match="of sp384, docs_val is no number"):
        choose(made.files | {MANIFEST: json.dumps(tree).encode()})


def test_a_vocabulary_that_is_not_the_model_s_names_both(made):
    with pytest.raises(BadInput, match=r"model\.vocabulary: 8192, sp384 has 384"):
        choose(made.files, vocabulary=8192)
