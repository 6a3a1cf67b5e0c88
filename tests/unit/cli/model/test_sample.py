"""golf sample: streams a continuation, says what is wrong in one message, and ends quietly with its reader"""

import io
import json
import os
import sys

import pytest

import golf
from golf.cli.main import main
from tests.helpers.tiny_artifact import write_tiny_artifact
from tests.helpers.tiny_corpus import make_tiny_corpus


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    write_tiny_artifact(folder)
    return folder


@pytest.fixture(autouse=True)
def work_in_project(project, monkeypatch):
    monkeypatch.chdir(project)


def sample(capsys, *arguments: str) -> str:
    assert main(["sample", "--max-tokens", "20", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_the_prompt_and_its_continuation_are_those_of_golf_load(capsys):
    options = {"temperature": 0.7, "top_p": 0.9, "seed": 3}
    model = golf.load("artifacts/compress/model.golf")
    expected = "".join(token.text for token in model.generate("The old clerk", max_tokens=20, **options))
    arguments = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert sample(capsys, "--prompt", " The  old clerk\n", *arguments) == f"The old clerk{expected}\n"


def test_a_seed_decides_the_text_and_an_empty_prompt_begins_a_document(capsys):
    first = sample(capsys)
    assert sample(capsys, "--prompt", "", "--seed", "0") == first
    assert sample(capsys, "--seed", "1") != first


def test_each_token_is_written_before_the_next_is_drawn(monkeypatch):
    class Stream(io.StringIO):
        n_flushes = 0

        def flush(self):
            self.n_flushes += 1

    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["sample", "--max-tokens", "5", "--prompt", "The baker", "--temperature", "0"]) == 0
    assert stream.n_flushes >= 6


def test_json_holds_the_text_its_tokens_and_the_settings(capsys):
    report = json.loads(sample(capsys, "--prompt", "The baker", "--seed", "2", "--json"))
    assert list(report) == [
        "artifact", "prompt", "prompt_tokens", "context_length", "max_tokens", "temperature", "top_p", "seed", "text",
        "tokens", "log_probs", "stopped_by",
    ]  # fmt: skip
    assert f"The baker{report['text']}\n" == sample(capsys, "--prompt", "The baker", "--seed", "2")
    assert len(report["tokens"]) == len(report["log_probs"]) <= 20
    assert report["stopped_by"] == ("max_tokens" if len(report["tokens"]) == 20 else "document_end")
    assert (report["seed"], report["context_length"]) == (2, 32)


def test_a_prompt_longer_than_the_context_is_continued_with_a_word_about_it(capsys):
    assert main(["sample", "--max-tokens", "5", "--prompt", " ".join(make_tiny_corpus()[:2])]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("golf sample: the prompt has ")
    assert captured.err.endswith(" tokens, of which the model sees the last 32 at most\n")
    assert captured.out.startswith("Chapter 0 ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "-1"], "--temperature must be a finite number of at least 0, got -1.0; 0 is greedy"),
        (["--temperature", "nan"], "--temperature must be a finite number of at least 0, got nan; 0 is greedy"),
        (["--top-p", "0"], "--top-p must be above 0 and at most 1, got 0.0; 1 keeps every token"),
        (["--max-tokens", "0"], "--max-tokens must be between 1 and 1,000,000, got 0"),
        (["--seed", "-3"], "--seed must be at least 0, got -3"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_a_wrong_argument(capsys, arguments, message):
    assert main(["sample", *arguments]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"golf sample: {message}\n")


@pytest.mark.parametrize(
    "arguments", [["--artifact", "none.golf"], ["--tokenizer", "none.model"], ["--prompt", "\udcff"]]
)
def test_what_can_not_be_read_is_one_message(capsys, arguments):
    assert main(["sample", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("golf sample: ")
    assert len(captured.err.splitlines()) == 1


def test_ctrl_c_ends_it_with_130(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("golf.evaluation.sampling.TokenSampler.draw", interrupt)
    assert main(["sample", "--prompt", "The"]) == 130
    assert capsys.readouterr().out == "The"


def test_a_closed_pipe_ends_without_a_traceback(capsys, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    assert main(["sample", "--max-tokens", "5"]) == 1
    sys.stdout.close()
    assert capsys.readouterr().err == ""
