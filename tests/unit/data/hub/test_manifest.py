"""golf/data/hub/manifest.py"""

import json

import pytest

from golf.data.hub import manifest
from golf.data.hub.manifest import RemoteFile
from golf.errors import ArtifactError, InputError
from tests.helpers.hub_exports import VOCAB_SIZE, hub_config, make_caseops_export, make_export
from tests.helpers.hub_server import EXPORT_DIR, MANIFEST_PATH, REPO, TOKENIZER_PATH


@pytest.fixture(scope="module")
def export():
    return make_export()


def listed(files) -> dict[str, RemoteFile]:
    return {path: RemoteFile(path, len(data), None) for path, data in files.items()}


def choose(files, path=MANIFEST_PATH, vocabulary=VOCAB_SIZE, **changes):
    return manifest.select_export(hub_config(**changes), listed(files), path, files.get(path, b""), vocabulary)


def names(files: list[RemoteFile]) -> list[str]:
    return [remote.path.rpartition("/")[2] for remote in files]


def test_the_first_train_shards_and_all_of_val_are_chosen(export):
    found = choose(export.files, train_shards=2)
    assert names(found.train) == ["fineweb_train_000000.bin", "fineweb_train_000001.bin"]
    assert names(found.val) == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]
    assert (found.sidecar, found.tokenizer.path, found.has_all_train) == ([], TOKENIZER_PATH, False)
    assert choose(export.files, train_shards=export.shards).has_all_train
    assert found.stats["docs_val"] == 12
    assert {remote.path for remote in found.files} < export.files.keys()


def test_a_sidecar_is_never_counted_as_val():
    found = choose(make_caseops_export().files, None, variant="sp384_caseops")
    assert names(found.val) == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]
    assert names(found.sidecar) == ["fineweb_val_bytes_000000.bin", "fineweb_val_bytes_000001.bin"]
    assert (found.transform, found.tokenizer.path) == ("caseops", "data/tokenizers/fineweb_384_bpe_caseops.model")


def test_the_manifest_lies_beside_the_data_sets_or_at_the_top(export):
    plain = listed(export.files)
    assert manifest.find_manifest(plain) == plain[MANIFEST_PATH]
    top = {path.removeprefix("datasets/"): data for path, data in export.files.items()}
    assert manifest.find_manifest(listed(top)).path == "manifest.json"
    assert choose(top, "manifest.json").tokenizer.path == TOKENIZER_PATH.removeprefix("datasets/")
    assert manifest.find_manifest(listed({TOKENIZER_PATH: b""})) is None


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (f"{EXPORT_DIR}/fineweb_val_000000.bin", "lacks fineweb_val_000000.bin"),
        (f"{EXPORT_DIR}/fineweb_train_000003.bin", "lacks fineweb_train_000003.bin"),
        (f"{EXPORT_DIR}/fineweb_val_000001.bin", "has 1 val shards, its manifest says 2"),
        (TOKENIZER_PATH, "the tokenizer is not in the repository"),
    ],
)
def test_a_repository_that_lacks_what_its_manifest_names_is_refused(export, lost, words):
    with pytest.raises(ArtifactError, match=words):
        choose({path: data for path, data in export.files.items() if path != lost})


def test_a_sidecar_for_a_part_of_val_is_refused():
    files = make_caseops_export().files
    del files["data/fineweb10B_sp384_caseops/fineweb_val_bytes_000001.bin"]
    with pytest.raises(ArtifactError, match="has 1 sidecars for 2 val shards"):
        choose(files, None, variant="sp384_caseops")


def test_more_train_shards_than_there_are_name_the_key_and_the_number(export):
    with pytest.raises(InputError, match=r"hub\.train_shards: 10, sp384 has 9; ask for that or fewer"):
        choose(export.files, train_shards=10)


def test_an_unknown_variant_names_those_that_are_there(export):
    with pytest.raises(InputError, match=rf"hub\.variant: sp1 is not in {REPO}, which has sp384"):
        choose(export.files, variant="sp1")
    with pytest.raises(InputError, match="which has sp384_caseops"):
        choose(make_caseops_export().files, None, variant="sp384")
    with pytest.raises(InputError, match="which has no shards at all"):
        choose({"README.md": b""}, None)


def test_a_repository_without_a_manifest_and_with_two_tokenizers_is_refused():
    files = make_caseops_export().files | {"data/tokenizers/other_caseops.model": b""}
    with pytest.raises(ArtifactError, match="has no manifest and 2 tokenizers"):
        choose(files, None, variant="sp384_caseops")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"datasets": 1}', b'{"datasets": [{}], "tokenizers": []}', b"{\xff"])
def test_what_is_no_manifest_is_refused(export, data):
    with pytest.raises(ArtifactError, match=rf"{MANIFEST_PATH}: not a manifest"):
        choose(export.files | {MANIFEST_PATH: data})


@pytest.mark.parametrize("key", ["path", "tokenizer_name", "vocab_size", "stats"])
def test_a_variant_that_the_manifest_tells_too_little_of_is_refused(export, key):
    tree = json.loads(export.files[MANIFEST_PATH])
    del tree["datasets"][0][key]
    with pytest.raises(ArtifactError, match="what it says of sp384 lacks"):
        choose(export.files | {MANIFEST_PATH: json.dumps(tree).encode()})


def test_a_total_that_is_no_number_is_named(export):
    tree = json.loads(export.files[MANIFEST_PATH])
    tree["datasets"][0]["stats"]["docs_val"] = "50000"
    with pytest.raises(ArtifactError, match="of sp384, docs_val is no number"):
        choose(export.files | {MANIFEST_PATH: json.dumps(tree).encode()})


def test_a_vocabulary_that_is_not_the_model_s_names_both(export):
    with pytest.raises(InputError, match=r"model\.vocab_size: 8192, sp384 has 384"):
        choose(export.files, vocab_size=8192)
