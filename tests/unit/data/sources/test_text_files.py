"""golf/data/sources/text_files.py"""

import gzip
import hashlib
import json
import lzma

import pytest
import zstandard

from golf.data.sources import text_files
from golf.errors import InputError

COMPRESS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


def write_files(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


@pytest.mark.parametrize("suffix", COMPRESS)
def test_txt_and_jsonl_are_read_plain_and_compressed(tmp_path, suffix):
    rows = "".join(json.dumps({"text": text, "id": 1}) + "\n" for text in ("eins", "zwei\nZeilen"))
    write_files(
        tmp_path,
        {f"b.jsonl{suffix}": COMPRESS[suffix](rows.encode()), f"a.txt{suffix}": COMPRESS[suffix]("Grüße 😀".encode())},
    )
    documents, digests = text_files.read_documents(tmp_path)
    assert documents == [
        (f"a.txt{suffix}", "Grüße 😀"),
        (f"b.jsonl{suffix}:1", "eins"),
        (f"b.jsonl{suffix}:2", "zwei\nZeilen"),
    ]
    for name, digest in digests.items():
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_files_come_in_the_order_of_their_paths_folders_included(tmp_path):
    write_files(tmp_path, {"z.txt": "3", "b/c.txt": "2", "a.txt": "1", "b.d/x.TXT": "4"})
    assert [name for name, _ in text_files.read_documents(tmp_path)[0]] == ["a.txt", "b.d/x.TXT", "b/c.txt", "z.txt"]


def test_readme_and_dot_files_are_passed_over(tmp_path):
    write_files(tmp_path, {"README.md": "about", ".hidden": "x", ".git/config.txt": "x", "a.txt": "1"})
    assert text_files.read_documents(tmp_path)[0] == [("a.txt", "1")]


def test_an_unknown_kind_of_file_is_named(tmp_path):
    write_files(tmp_path, {"a.txt": "1", "deep/report.pdf": "x"})
    with pytest.raises(InputError, match=r"deep/report\.pdf: unknown kind of file; allowed are \.txt and \.jsonl"):
        text_files.read_documents(tmp_path)


@pytest.mark.parametrize("name", ["notes.md", "a.gz", "b.txt.zip", "README.txt.md", "txt", "a.txt.xz.gz"])
def test_nothing_but_txt_and_jsonl_slips_through(tmp_path, name):
    write_files(tmp_path, {name: "x"})
    with pytest.raises(InputError, match="unknown kind"):
        text_files.read_documents(tmp_path)


def test_undecodable_bytes_name_file_and_offset(tmp_path):
    write_files(tmp_path, {"a.txt": b"good \xff bad"})
    with pytest.raises(InputError, match=r"a\.txt: not UTF-8 at byte 5 \(0xff\)"):
        text_files.read_documents(tmp_path)


def test_undecodable_bytes_in_a_line_name_line_and_offset(tmp_path):
    write_files(tmp_path, {"a.jsonl": b'{"text": "1"}\n{"text": "\xe9"}\n'})
    with pytest.raises(InputError, match=r"a\.jsonl:2: not UTF-8 at byte 24 \(0xe9\)"):
        text_files.read_documents(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["[1]", "3", '{"txt": "x"}', '{"text": 5}', '{"text": null}', "{", "nonsense", "[" * 100_000, '"text"'],
)
def test_a_line_without_a_text_names_file_and_line(tmp_path, line):
    write_files(tmp_path, {"a.jsonl": '{"text": "fine"}\n\n' + line + "\n"})
    with pytest.raises(InputError, match=r"a\.jsonl:3: "):
        text_files.read_documents(tmp_path)


def test_an_unpaired_surrogate_is_rejected_where_it_stands(tmp_path):
    write_files(tmp_path, {"a.jsonl": '{"text": "fine \\ud83d\\ude00"}\n{"text": "ab\\ud83d"}\n'})
    with pytest.raises(InputError, match=r"a\.jsonl:2: an unpaired surrogate at character 2"):
        text_files.read_documents(tmp_path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "corrupt", "misnamed"])
def test_a_compressed_file_truncated_or_damaged_is_named(tmp_path, suffix, damage):
    data = COMPRESS[suffix](b"some text " * 50)
    contents = {"cut": data[:-3], "corrupt": b"\0\0" + data[2:], "misnamed": b"plain text"}[damage]
    write_files(tmp_path, {f"a.txt{suffix}": contents})
    with pytest.raises(InputError, match=rf"a\.txt\{suffix}: can't be decompressed"):
        text_files.read_documents(tmp_path)


def test_all_frames_of_a_zst_are_read(tmp_path):
    write_files(tmp_path, {"a.txt.zst": zstandard.compress(b"one ") + zstandard.compress(b"two")})
    assert text_files.read_documents(tmp_path)[0] == [("a.txt.zst", "one two")]


def test_a_byte_order_mark_is_no_text(tmp_path):
    write_files(tmp_path, {"a.txt": b"\xef\xbb\xbfhello", "b.jsonl": b'\xef\xbb\xbf{"text": "x"}\r\n'})
    assert text_files.read_documents(tmp_path)[0] == [("a.txt", "hello"), ("b.jsonl:1", "x")]


def test_an_empty_folder_is_rejected_with_a_hint(tmp_path):
    write_files(tmp_path, {"README.md": "about"})
    with pytest.raises(InputError, match=r"fetch\.path: no texts in .*fetch\.source: stdlib"):
        text_files.read_documents(tmp_path)


def test_a_folder_that_is_not_there_is_rejected(tmp_path):
    with pytest.raises(InputError, match=r"fetch\.path: .*nowhere is not a folder"):
        text_files.read_documents(tmp_path / "nowhere")


def test_a_link_to_a_folder_is_rejected_rather_than_ignored(tmp_path):
    write_files(tmp_path, {"real/a.txt": "1"})
    folder = write_files(tmp_path / "home", {"b.txt": "2"})
    (folder / "linked").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="linked: a link to a folder"):
        text_files.read_documents(folder)


def test_a_file_or_folder_that_can_not_be_read_is_named(tmp_path, monkeypatch):
    write_files(tmp_path, {"a.txt": "1"})
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"gone\.txt: can't be read \(No such file"):
        text_files.read_documents(tmp_path)

    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(text_files.os, "scandir", forbidden)
    with pytest.raises(InputError, match=r"can't be read \(Permission denied\)"):
        text_files.read_documents(tmp_path)
