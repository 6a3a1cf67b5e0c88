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


def make_listing(files) -> dict[str, RemoteFile]:
    return {path: RemoteFile(path, len(data), None) for path, data in files.items()}


def select(files, path=MANIFEST_PATH, vocab_size=VOCAB_SIZE, **changes):
    return manifest.select_export(hub_config(**changes), make_listing(files), path, files.get(path, b""), vocab_size)


def names(files: list[RemoteFile]) -> list[str]:
    return [remote.path.rpartition("/")[2] for remote in files]


def test_the_first_train_shards_and_all_of_val_are_chosen(export):
    selected = select(export.files, train_shards=2)
    assert names(selected.train) == ["fineweb_train_000000.bin", "fineweb_train_000001.bin"]
    assert names(selected.val) == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]
    assert (selected.sidecar, selected.tokenizer.path, selected.has_all_train) == ([], TOKENIZER_PATH, False)
    assert select(export.files, train_shards=export.n_train_shards).has_all_train
    assert selected.stats["docs_val"] == 12
    assert {remote.path for remote in selected.files} < export.files.keys()


def test_a_sidecar_is_never_counted_as_val():
    selected = select(make_caseops_export().files, None, variant="sp384_caseops")
    assert names(selected.val) == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]
    assert names(selected.sidecar) == ["fineweb_val_bytes_000000.bin", "fineweb_val_bytes_000001.bin"]
    assert (selected.transform, selected.tokenizer.path) == ("caseops", "data/tokenizers/fineweb_384_bpe_caseops.model")


def test_the_manifest_lies_beside_the_data_sets_or_at_the_top(export):
    plain = make_listing(export.files)
    assert manifest.find_manifest(plain) == plain[MANIFEST_PATH]
    top = {path.removeprefix("datasets/"): data for path, data in export.files.items()}
    assert manifest.find_manifest(make_listing(top)).path == "manifest.json"
    assert select(top, "manifest.json").tokenizer.path == TOKENIZER_PATH.removeprefix("datasets/")
    assert manifest.find_manifest(make_listing({TOKENIZER_PATH: b""})) is None


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (f"{EXPORT_DIR}/fineweb_val_000000.bin", "lacks fineweb_val_000000.bin"),
        (f"{EXPORT_DIR}/fineweb_train_000003.bin", "lacks fineweb_train_000003.bin"),
        (f"{EXPORT_DIR}/fineweb_val_000001.bin", "has 1 val shards, its manifest says 2"),
        (TOKENIZER_PATH, "the tokenizer is not in the repository"),
    ],
)
def test_a_repository_that_lacks_what_its_manifest_names_is_rejected(export, missing, message):
    with pytest.raises(ArtifactError, match=message):
        select({path: data for path, data in export.files.items() if path != missing})


def test_a_sidecar_for_a_part_of_val_is_rejected():
    files = make_caseops_export().files
    del files["data/fineweb10B_sp384_caseops/fineweb_val_bytes_000001.bin"]
    with pytest.raises(ArtifactError, match="has 1 sidecar for 2 val shards"):
        select(files, None, variant="sp384_caseops")


def test_more_train_shards_than_there_are_name_the_key_and_the_number(export):
    with pytest.raises(InputError, match=r"hub\.train_shards: 10, sp384 has 9; set it to that or fewer"):
        select(export.files, train_shards=10)


def test_an_unknown_variant_names_those_that_are_there(export):
    with pytest.raises(InputError, match=rf"hub\.variant: sp1 is not in {REPO}, which has sp384"):
        select(export.files, variant="sp1")
    with pytest.raises(InputError, match="which has sp384_caseops"):
        select(make_caseops_export().files, None, variant="sp384")
    with pytest.raises(InputError, match="which has no shards"):
        select({"README.md": b""}, None)


def test_a_repository_without_a_manifest_and_with_two_tokenizers_is_rejected():
    files = make_caseops_export().files | {"data/tokenizers/other_caseops.model": b""}
    with pytest.raises(ArtifactError, match="has no manifest and 2 tokenizers"):
        select(files, None, variant="sp384_caseops")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"datasets": 1}', b'{"datasets": [{}], "tokenizers": []}', b"{\xff"])
def test_what_is_no_manifest_is_rejected(export, data):
    with pytest.raises(ArtifactError, match=rf"{MANIFEST_PATH}: not a manifest"):
        select(export.files | {MANIFEST_PATH: data})


@pytest.mark.parametrize("key", ["path", "tokenizer_name", "vocab_size", "stats"])
def test_an_incomplete_entry_of_the_manifest_is_rejected(export, key):
    tree = json.loads(export.files[MANIFEST_PATH])
    del tree["datasets"][0][key]
    with pytest.raises(ArtifactError, match="its entry for sp384 lacks"):
        select(export.files | {MANIFEST_PATH: json.dumps(tree).encode()})


def test_a_total_that_is_no_number_is_named(export):
    tree = json.loads(export.files[MANIFEST_PATH])
    tree["datasets"][0]["stats"]["docs_val"] = "50000"
    with pytest.raises(ArtifactError, match="docs_val of sp384 must be an integer"):
        select(export.files | {MANIFEST_PATH: json.dumps(tree).encode()})


def test_a_vocabulary_that_is_not_the_model_s_names_both(export):
    with pytest.raises(InputError, match=r"model\.vocab_size: 8192, but sp384 has 384"):
        select(export.files, vocab_size=8192)
