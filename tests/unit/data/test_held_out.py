"""golf/data/held_out.py"""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data import held_out, overlap, splitting
from golf.data.sources.interface import SourceDocument
from golf.data.splitting import Document, SplitResult
from golf.errors import InputError

PLANTED = "This one sentence is long enough to be a match of sixty-four bytes wherever it stands in a text."
OWN = {
    "dev": "Rivers carry more water in spring, when the snow of the hills has melted.",
    "val": "A carpenter measures each board twice and cuts it once, as the saying has it.",
}


def document(name, text, sections=()):
    return Document.from_source(SourceDocument(name, text, tuple(sections)))


def sectioned(name, *sections):
    return Document.from_source(SourceDocument.from_sections(name, sections))


def make_splits(train=(), dev=(), val=()):
    """Documents of these texts; each split also has one of its own, so that none is empty."""
    texts = {"train": train, "dev": dev, "val": val}
    splits = {
        split: [document(f"{split} {number}", text) for number, text in enumerate([f"Only in {split}.", *rows])]
        for split, rows in texts.items()
    }
    return SplitResult(splits, 0, 0)


def remove(**texts):
    result, counts = held_out.remove_shared_paragraphs(make_splits(**texts))
    return {split: [row.text for row in rows[1:]] for split, rows in result.splits.items()}, counts


def covered(split_result, split, other):
    texts = [row.normalized_utf8 for row in split_result.splits[split]]
    others = [row.normalized_utf8 for row in split_result.splits[other]]
    return [ranges for ranges in overlap.find_covered_ranges(texts, others) if ranges]


def test_a_paragraph_of_train_is_removed_from_dev_and_val_and_stays_in_train():
    train = [f"About something else.\n\n{PLANTED}"]
    texts, counts = remove(
        train=train, dev=[f"{PLANTED}\n\n{OWN['dev']}"], val=[f"{OWN['val']}\n\nBefore: {PLANTED} After.\n\nThe end."]
    )
    assert texts == {"train": train, "dev": [OWN["dev"]], "val": [f"{OWN['val']}\n\nThe end."]}
    assert counts["dev"].to_dict() == {"documents": 0, "paragraphs": 1, "bytes": len(PLANTED) + 1}
    assert counts["val"].to_dict() == {"documents": 0, "paragraphs": 1, "bytes": len(f" Before: {PLANTED} After.")}


def test_a_paragraph_that_dev_and_val_share_stays_in_dev():
    texts, counts = remove(dev=[f"{OWN['dev']}\n\n{PLANTED}"], val=[f"{OWN['val']}\n\n{PLANTED}"])
    assert texts == {"train": [], "dev": [f"{OWN['dev']}\n\n{PLANTED}"], "val": [OWN["val"]]}
    assert (counts["dev"].paragraphs, counts["val"].paragraphs) == (0, 1)


def test_of_a_match_that_spans_paragraphs_those_are_removed_that_it_covers_most():
    words = PLANTED.split()
    thirds = [" ".join(words[start : start + 7]) for start in (0, 7, 14)]
    assert " ".join(thirds) == PLANTED
    texts, _ = remove(train=[f"Before. {PLANTED}"], val=["\n".join([f"{OWN['val']} Before.", *thirds, "The end."])])
    assert texts["val"] == [f"{OWN['val']} Before.\n\nThe end."]
    first, second = f"{OWN['val']} {thirds[0]}", f"{thirds[1]} {thirds[2]} {OWN['val'][::-1]} {OWN['dev'][::-1]}"
    texts, _ = remove(train=[PLANTED], val=[f"{first}\n\n{second}"])
    assert texts["val"] == [first]


def test_text_that_a_removal_brings_together_is_searched_again():
    words = PLANTED.split()
    first, second = " ".join(words[:10]), " ".join(words[10:])
    texts, counts = remove(
        train=[PLANTED, OWN["dev"]], val=[f"The beginning.\n\n{first}\n\n{OWN['dev']}\n\n{second}\n\nThe end."]
    )
    assert texts["val"] == ["The beginning.\n\nThe end."]
    assert counts["val"].paragraphs == 3


def test_a_text_that_never_becomes_clean_is_left_out_in_a_bounded_number_of_passes(monkeypatch):
    monkeypatch.setattr(held_out, "_MAX_PASSES", 1)
    texts, counts = remove(train=[PLANTED], val=[f"{PLANTED}\n\n{OWN['val']}"])
    assert texts["val"] == []
    assert counts["val"].to_dict() == {"documents": 1, "paragraphs": 2, "bytes": len(f"{PLANTED} {OWN['val']}")}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_without_a_blank_line_each_line_is_a_paragraph(end):
    texts, _ = remove(train=[PLANTED], val=[f"{OWN['val']}{end}{PLANTED}{end}The end.{end}{end}"])
    assert texts["val"] == [f"{OWN['val']}\n\nThe end."]


def test_a_document_of_one_line_is_removed_as_a_whole():
    texts, counts = remove(train=[PLANTED], val=[f"{OWN['val']} {PLANTED}"])
    assert texts["val"] == []
    assert (counts["val"].documents, counts["val"].paragraphs) == (1, 1)


def test_a_document_whose_paragraphs_do_not_add_up_to_its_normalized_text_is_one_paragraph():
    splits = make_splits(train=[PLANTED]).splits
    text = document("val", f"{OWN['val']}\n\n{PLANTED}")
    splits["val"].append(dataclasses.replace(text, normalized_utf8=f"{OWN['val']}{PLANTED}".encode()))
    result, counts = held_out.remove_shared_paragraphs(SplitResult(splits, 0, 0))
    assert len(result.splits["val"]) == 1
    assert (counts["val"].documents, counts["val"].paragraphs) == (1, 1)


def test_leftovers_that_are_equal_are_kept_once_and_not_beside_train():
    texts, counts = remove(
        train=[PLANTED, "Short."], val=[f"{PLANTED}\n\nShort.", f"{PLANTED}\n\nBrief.", f"Brief.\n\n{PLANTED}"]
    )
    assert texts["val"] == ["Brief."]
    assert counts["val"].documents == 2


def test_a_split_of_which_nothing_is_left_names_the_key_that_keeps_it():
    splits = make_splits(train=[PLANTED]).splits
    splits["val"] = [document("val", PLANTED.upper() + PLANTED)]
    with pytest.raises(InputError, match=r"no document for val: 3 .*fetch\.held_out: strict.*held_out: documents, or"):
        held_out.remove_shared_paragraphs(SplitResult(splits, 0, 0))


@given(
    st.lists(
        st.lists(
            st.sampled_from(["ab" * 20, "ba " * 11, "aabb" * 9, "x", "\n", "\n\n", "\u0301é", " "]), max_size=12
        ).map("".join),
        min_size=9,
        max_size=9,
    )
)
def test_afterwards_no_byte_of_dev_or_val_is_covered_and_no_document_is_twice(texts):
    texts = list({" ".join(text.split()): text for text in texts if text.strip()}.values())
    before = make_splits(train=texts[::3], dev=texts[1::3], val=texts[2::3])
    after, counts = held_out.remove_shared_paragraphs(before)
    assert after.splits["train"] == before.splits["train"]
    for split, other in (("dev", "train"), ("val", "train"), ("val", "dev")):
        assert covered(after, split, other) == []
    for split in ("dev", "val"):
        keys = [row.split_key for row in after.splits[split]]
        assert len(set(keys)) == len(keys)
        lengths = [sum(len(row.normalized_utf8) for row in each.splits[split]) for each in (before, after)]
        assert lengths[0] - lengths[1] == counts[split].bytes
    splitting.require_disjoint(after.splits)


def test_sections_are_kept_once_by_their_normalized_text_train_first():
    splits = {
        "train": [
            sectioned("t1", "Shared.", "Own of t1."),
            sectioned("t2", "Shared."),
            sectioned("t3", "T3.", "Shared."),
        ],
        "dev": [sectioned("d", "Shared. ", "Own of dev.", "With val.")],
        "val": [sectioned("v", "With  val.", "Own of val."), sectioned("v2", "Own\nof val.")],
    }
    result, n_repeated = held_out.keep_sections_once(SplitResult(splits, 0, 0))
    assert {split: [row.sections for row in rows] for split, rows in result.splits.items()} == {
        "train": [("Shared.", "Own of t1."), ("T3.",)],
        "dev": [("Own of dev.", "With val.")],
        "val": [("Own of val.",)],
    }
    assert n_repeated == 5


def test_a_document_that_equals_another_one_once_its_sections_are_cut_is_left_out():
    splits = {
        "train": [sectioned("t", "Shared."), sectioned("t2", "First. Second.")],
        "dev": [sectioned("d", "Own.")],
        "val": [sectioned("v", "Shared.", "First.", "Second."), sectioned("v2", "Other.")],
    }
    result, _ = held_out.keep_sections_once(SplitResult(splits, 0, 0))
    assert [row.name for row in result.splits["val"]] == ["v2"]


def test_documents_without_sections_stay_as_they_are():
    before = make_splits(train=["Same words.", PLANTED], dev=[OWN["dev"]])
    assert held_out.keep_sections_once(before) == (before, 0)


def test_train_does_not_depend_on_the_text_of_dev_and_val():
    train = [sectioned("t1", PLANTED, "A."), sectioned("t2", "A.", "B."), document("t3", "No sections.")]
    kept = []
    for text in (PLANTED, "A.", "Something else."):
        splits = {
            "train": train,
            "dev": [sectioned("d", text, OWN["dev"])],
            "val": [sectioned("v", "B.", text, OWN["val"])],
        }
        result, _ = held_out.keep_sections_once(SplitResult(splits, 0, 0))
        kept.append(held_out.remove_shared_paragraphs(result)[0].splits["train"])
    assert kept[0] == kept[1] == kept[2] == [train[0], sectioned("t2", "B."), train[2]]
