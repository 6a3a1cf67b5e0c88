"""golf/distributed/machine_probe.py; tests/integration/test_compile_fallback.py breaks real compilers"""

import pytest
import torch

from golf.distributed import machine_probe

CPU = torch.device("cpu")
HINT = (
    "\n\nSet TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this especially if you're reporting a bug)"
)


def test_measuring_gives_a_ratio_and_leaves_the_threads_and_random_numbers_as_they_were(monkeypatch):
    n_threads, threads, state = torch.get_num_threads(), [], torch.get_rng_state()
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    assert machine_probe.measure_bf16_speedup() > 0
    assert threads == [1, n_threads]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_compiler_that_works_has_no_problem_and_one_that_computes_nonsense_has(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    assert machine_probe.find_compile_problem(CPU) is None
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda x: 2 * function(x))
    assert machine_probe.find_compile_problem(CPU) == "a compiled function gave a wrong result"


@pytest.mark.parametrize(
    "compiled",
    [
        lambda function, x: function(2 * x - x.detach()),  # twice the gradient
        lambda function, x: function(torch.cat([x[:-1], x[-1:].detach()])),  # the last element's is zero
        lambda function, x: function(x.detach()) + 0 * x.sum(),
    ],
)
def test_a_compiler_whose_results_are_right_and_gradients_wrong_is_refused(monkeypatch, compiled):
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda x: compiled(function, x))
    assert machine_probe.find_compile_problem(CPU) == "a compiled function gave a wrong result"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (f"backend='inductor' raised:\nUnicodeDecodeError: 'ascii' codec{HINT}", "UnicodeDecodeError: 'ascii' codec"),
        (
            "CppCompileError: C++ compile error\n\nCommand:\ng++ a.cpp -o a.so\n\nOutput:\na.cpp: In function 'kernel':"
            f"\na.cpp:3:1: error: expected ';'\na.cpp:9:1: error: more{HINT}",
            "a.cpp:3:1: error: expected ';'",
        ),
        ("", "RuntimeError"),
        ("x" * 500, "x" * 199 + "…"),
    ],
)
def test_a_failure_is_told_in_one_short_line(monkeypatch, message, reason):
    def fail(function, **_):
        raise RuntimeError(message)

    monkeypatch.setattr(torch, "compile", fail)
    assert machine_probe.find_compile_problem(CPU) == reason
