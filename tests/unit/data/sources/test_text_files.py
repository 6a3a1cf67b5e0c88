"""golf/data/sources/text_files.py"""

import contextlib
import gzip
import hashlib
import json
import lzma
import os
import socket

import pytest
import zstandard

from golf.data.sources import text_files
from golf.errors import InputError
from tests.helpers.file_tree import write_files

COMPRESS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


def read(folder):
    """(name, text) of every document, and the digests of the files."""
    documents, digests = text_files.read_documents(folder)
    return [(document.name, document.text) for document in documents], digests


@pytest.mark.parametrize("suffix", COMPRESS)
def test_txt_and_jsonl_are_read_plain_and_compressed(tmp_path, suffix):
    rows = "".join(json.dumps({"text": text, "id": 1}) + "\n" for text in ("eins", "zwei\nZeilen"))
    write_files(
        tmp_path,
        {f"b.jsonl{suffix}": COMPRESS[suffix](rows.encode()), f"a.txt{suffix}": COMPRESS[suffix]("Grüße 😀".encode())},
    )
    documents, digests = read(tmp_path)
    assert documents == [
        (f"a.txt{suffix}", "Grüße 😀"),
        (f"b.jsonl{suffix}:1", "eins"),
        (f"b.jsonl{suffix}:2", "zwei\nZeilen"),
    ]
    for name, digest in digests.items():
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_files_come_in_the_order_of_their_paths_folders_included(tmp_path):
    write_files(tmp_path, {"z.txt": "3", "b/c.txt": "2", "a.txt": "1", "b.d/x.TXT": "4"})
    assert [name for name, _ in read(tmp_path)[0]] == ["a.txt", "b.d/x.TXT", "b/c.txt", "z.txt"]


def test_readme_and_dot_files_are_passed_over(tmp_path):
    write_files(tmp_path, {"README.md": "about", ".hidden": "x", ".git/config.txt": "x", "a.txt": "1"})
    assert read(tmp_path)[0] == [("a.txt", "1")]


def test_an_unknown_kind_of_file_is_named(tmp_path):
    write_files(tmp_path, {"a.txt": "1", "deep/report.pdf": "x"})
    with pytest.raises(InputError, match=r"deep/report\.pdf: unknown kind of file; allowed are \.txt and \.jsonl"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["notes.md", "a.gz", "b.txt.zip", "README.txt.md", "txt", "a.txt.xz.gz"])
def test_nothing_but_txt_and_jsonl_slips_through(tmp_path, name):
    write_files(tmp_path, {name: "x"})
    with pytest.raises(InputError, match="unknown kind"):
        read(tmp_path)


def test_undecodable_bytes_name_file_and_offset(tmp_path):
    write_files(tmp_path, {"a.txt": b"good \xff bad"})
    with pytest.raises(InputError, match=r"a\.txt: not UTF-8 at byte 5 \(0xff\)"):
        read(tmp_path)


def test_undecodable_bytes_in_a_line_name_line_and_offset(tmp_path):
    write_files(tmp_path, {"a.jsonl": b'{"text": "1"}\n{"text": "\xe9"}\n'})
    with pytest.raises(InputError, match=r"a\.jsonl:2: not UTF-8 at byte 24 \(0xe9\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["[1]", "3", '{"txt": "x"}', '{"text": 5}', '{"text": null}', "{", "nonsense", "[" * 100_000, '"text"'],
)
def test_a_line_without_a_text_names_file_and_line(tmp_path, line):
    write_files(tmp_path, {"a.jsonl": '{"text": "fine"}\n\n' + line + "\n"})
    with pytest.raises(InputError, match=r"a\.jsonl:3: "):
        read(tmp_path)


def test_an_unpaired_surrogate_is_rejected_where_it_stands(tmp_path):
    write_files(tmp_path, {"a.jsonl": '{"text": "fine \\ud83d\\ude00"}\n{"text": "ab\\ud83d"}\n'})
    with pytest.raises(InputError, match=r"a\.jsonl:2: an unpaired surrogate at character 2"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_damaged_compressed_file_is_named(tmp_path, suffix):
    write_files(tmp_path, {f"a.txt{suffix}": COMPRESS[suffix](b"some text " * 50)[:-3]})
    with pytest.raises(InputError, match=rf"a\.txt\{suffix}: can't be decompressed"):
        read(tmp_path)


def test_lines_of_a_second_stream_are_documents_too(tmp_path):
    one, two = (lzma.compress(json.dumps({"text": text}).encode() + b"\n") for text in ("first", "second"))
    write_files(tmp_path, {"padded.jsonl.xz": one + b"\0" * 4 + two})
    assert read(tmp_path)[0] == [("padded.jsonl.xz:1", "first"), ("padded.jsonl.xz:2", "second")]


@pytest.mark.parametrize("name", [b"bad\xff.txt", b"b\xe9/a.txt", b"bad\xff.pdf", b"bad\xed\xa0\x80.txt"])
def test_a_name_that_is_not_utf_8_is_rejected_before_anything_is_read(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"hello")
    with pytest.raises(InputError, match=r"\\x[0-9a-f]{2}.*: its name is not UTF-8; rename it") as raised:
        text_files.read_documents(tmp_path)
    assert str(raised.value).encode()  # can be printed


def test_what_is_no_regular_file_is_rejected_before_anything_is_read(tmp_path):
    def make_socket(path):
        with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):  # a socket's path must be short
            server.bind(path.name)

    def link_to_device(path):
        path.symlink_to("/dev/zero")

    for number, make in enumerate((os.mkfifo, make_socket, link_to_device)):
        folder = write_files(tmp_path / str(number), {"a.txt": "1"})
        make(folder / "pipe.txt")
        with pytest.raises(InputError, match=r"pipe\.txt: not a regular file; move it out of fetch\.path"):
            text_files.read_documents(folder)


def test_what_is_read_is_shown(tmp_path, capsys):
    read(write_files(tmp_path, {"a.txt": "one", "b.txt": "three"}))
    assert capsys.readouterr().err.splitlines() == [
        "fetch     reading 2 files, 8 bytes",
        "fetch     read 2 documents from 2 files",
    ]


def test_a_byte_order_mark_is_no_text(tmp_path):
    write_files(tmp_path, {"a.txt": b"\xef\xbb\xbfhello", "b.jsonl": b'\xef\xbb\xbf{"text": "x"}\r\n'})
    assert read(tmp_path)[0] == [("a.txt", "hello"), ("b.jsonl:1", "x")]


def test_an_empty_folder_is_rejected_with_a_hint(tmp_path):
    write_files(tmp_path, {"README.md": "about"})
    with pytest.raises(InputError, match=r"fetch\.path: no texts in .*fetch\.source: docs"):
        read(tmp_path)


def test_a_folder_that_is_not_there_is_rejected(tmp_path):
    with pytest.raises(InputError, match=r"fetch\.path: .*nowhere is not a folder"):
        read(tmp_path / "nowhere")


def test_a_link_to_a_folder_is_rejected_rather_than_ignored(tmp_path):
    write_files(tmp_path, {"real/a.txt": "1"})
    folder = write_files(tmp_path / "home", {"b.txt": "2"})
    (folder / "linked").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="linked: a link to a folder"):
        read(folder)


def test_a_file_or_folder_that_can_not_be_read_is_named(tmp_path, monkeypatch):
    write_files(tmp_path, {"a.txt": "1"})
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"gone\.txt: can't be read \(No such file"):
        read(tmp_path)

    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(text_files.os, "scandir", forbidden)
    with pytest.raises(InputError, match=r"can't be read \(Permission denied\)"):
        read(tmp_path)
