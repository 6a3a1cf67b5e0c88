"""Texts, and the data set that prepare makes of them."""

import pytest

from golf.data import prepare
from tests.helpers.fetched_texts import fetch_config, write_texts


@pytest.fixture(scope="module")
def text_dir(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def dataset(text_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("fetch")
    return out, prepare.build_dataset(fetch_config(path=str(text_dir)), 384, out)
