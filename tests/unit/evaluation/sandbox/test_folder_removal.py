"""golf/evaluation/sandbox/folder_removal.py"""

import os

from golf.evaluation.sandbox.folder_removal import clear_folder, remove_folder


def test_thousands_of_nested_folders_are_removed_and_nothing_that_links_lead_to(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("text")
    folder = tmp_path / "sandbox"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    start = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(4000):
            os.mkdir("d")
            os.symlink(outside, "d/link")
            os.chdir("d")
        os.chmod("..", 0)
        os.fchdir(start)
    finally:
        os.close(start)
    clear_folder(folder)
    assert list(folder.iterdir()) == []
    remove_folder(folder)
    assert not folder.exists()
    assert (outside / "kept").is_file()
