"""golf/data/splitting.py"""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data import splitting
from golf.data.sources.interface import SourceDocument
from golf.errors import InputError


def named(texts):
    return [SourceDocument(f"{i}.txt", text) for i, text in enumerate(texts)]


def keys(split_result):
    return {name: [document.split_key for document in members] for name, members in split_result.splits.items()}


def test_every_document_lands_in_exactly_one_split(tiny_corpus):
    split_result = splitting.split_documents(named(tiny_corpus), 10, 5)
    texts = [document.text for members in split_result.splits.values() for document in members]
    assert sorted(texts) == sorted(tiny_corpus)
    assert all(split_result.splits.values())


@given(st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_the_documents(rng):
    texts = [f"document number {i}" for i in range(80)] + ["document  number 3"]
    shuffled = named(texts)
    rng.shuffle(shuffled)
    assert splitting.split_documents(shuffled, 10, 10) == splitting.split_documents(named(texts), 10, 10)


def test_a_document_more_moves_no_other(tiny_corpus):
    before = keys(splitting.split_documents(named(tiny_corpus), 20, 20))
    after = keys(splitting.split_documents(named([*tiny_corpus, "one more"]), 20, 20))
    assert all(set(before[name]) <= set(after[name]) for name in splitting.SPLIT_NAMES)


def test_a_document_stays_in_val_whatever_the_share_of_dev(tiny_corpus):
    assert (
        keys(splitting.split_documents(named(tiny_corpus), 20, 10))["val"]
        == keys(splitting.split_documents(named(tiny_corpus), 20, 40))["val"]
    )


def test_documents_within_a_split_are_in_the_order_of_their_hash(tiny_corpus):
    for members in keys(splitting.split_documents(named(tiny_corpus), 20, 20)).values():
        assert members == sorted(members)


def test_shares_are_the_percentages_asked_for():
    assigned = [splitting.assign_split(hashlib.sha256(str(i).encode()).hexdigest(), 10, 5) for i in range(20_000)]
    assert abs(assigned.count("val") / 20_000 - 0.10) < 0.01
    assert abs(assigned.count("dev") / 20_000 - 0.05) < 0.01


@pytest.mark.parametrize(
    ("key", "split"),
    [("0" * 64, "val"), ("1fff" * 16, "val"), ("2" + "0" * 63, "dev"), ("3fff" * 16, "dev"), ("4" + "0" * 63, "train")],
)
def test_val_is_the_lowest_share_and_dev_the_next(key, split):
    assert splitting.assign_split(key, 12.5, 12.5) == split
    assert splitting.assign_split("f" * 64, 12.5, 12.5) == "train"


def test_repetitions_and_empty_documents_are_dropped_and_counted(tiny_corpus):
    texts = [*tiny_corpus, tiny_corpus[0], tiny_corpus[0], "", " \n\t"]
    split_result = splitting.split_documents(named(texts), 10, 5)
    assert (split_result.n_duplicates, split_result.n_empty) == (2, 2)
    assert sum(map(len, split_result.splits.values())) == len(tiny_corpus)


def test_texts_that_differ_in_white_space_alone_count_as_one(tiny_corpus):
    documents = [*named(tiny_corpus), SourceDocument("x", f"  {tiny_corpus[0]} \n")]
    assert splitting.split_documents(documents, 10, 5).n_duplicates == 1


def test_documents_that_can_not_be_held_out_stay_in_train_when_others_repeat_them(tiny_corpus):
    kept = [SourceDocument(f"kept {i}", text, can_be_held_out=False) for i, text in enumerate(tiny_corpus[:20])]
    repetitions = [SourceDocument(f"a repetition {i}", f" {text}") for i, text in enumerate(tiny_corpus[:20])]
    split_result = splitting.split_documents([*repetitions, *kept, *named(tiny_corpus[20:])], 40, 40)
    names = {name: {document.name for document in members} for name, members in split_result.splits.items()}
    assert names["train"] >= {document.name for document in kept}
    assert not any("repetition" in name for members in names.values() for name in members)


def test_the_hash_in_the_index_is_that_of_the_text_itself():
    document = splitting.Document.from_source(SourceDocument("a", "x  y"))
    assert document.sha256 == hashlib.sha256(b"x  y").hexdigest()
    assert document.split_key == hashlib.sha256(b"x y").hexdigest()


@given(st.text(st.sampled_from("aAßẞİΣσς😀 "), max_size=20))
def test_hashes_of_a_text_and_of_its_casefolded_form_do_not_depend_on_the_parts(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "_PART_CHARS", 3)
        assert splitting.sha256_text(text) == hashlib.sha256(text.encode()).hexdigest()
        assert splitting.sha256_casefolded_text(text) == hashlib.sha256(text.casefold().encode()).hexdigest()


def test_one_document_can_not_fill_three_splits():
    with pytest.raises(InputError, match=r"no document for .* and .*: 1 different document at fetch\.val_percent = 10"):
        splitting.split_documents(named(["alone"]), 10, 5)


def test_an_empty_split_names_the_keys_and_the_number_of_documents(tiny_corpus):
    with pytest.raises(InputError, match=r"for dev: 60 different documents .*fetch\.dev_percent = 1e-09"):
        splitting.split_documents(named(tiny_corpus), 50, 1e-9)


def test_shares_that_leave_nothing_to_train_on_are_rejected(tiny_corpus):
    with pytest.raises(InputError, match="no document for train"):
        splitting.split_documents(named(tiny_corpus), 50, 50)


def test_empty_documents_alone_are_rejected():
    with pytest.raises(InputError, match="all 2 documents are empty"):
        splitting.split_documents(named(["", " "]), 10, 5)


def test_shared_text_between_splits_is_rejected_by_name():
    document = splitting.Document.from_source(SourceDocument("twice.txt", "the same"))
    with pytest.raises(InputError, match=r"twice\.txt: the same text is in train and in val"):
        splitting.require_disjoint({"train": [document], "dev": [], "val": [document]})


def test_the_split_is_the_same_on_every_machine():
    texts = named(f"document number {i}" for i in range(40))
    random.Random(0).shuffle(texts)
    split_result = splitting.split_documents(texts, 10, 10)
    digest = hashlib.sha256(repr(sorted(keys(split_result).items())).encode()).hexdigest()
    assert digest[:16] == "8f90b636f63dc2e0"
