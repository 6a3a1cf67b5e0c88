import pytest

from golf.config.ttt_methods import has_adapters, has_phases


@pytest.mark.parametrize(
    ("method", "lora_lr", "expected"),
    [
        ("score_first", 1e-4, (False, False)),
        ("none", None, (False, False)),
        ("lora", None, (True, False)),
        ("phased", None, (False, True)),
        ("phased", 0.0, (True, True)),
    ],
)
def test_a_methods_parts_follow_from_its_name_and_the_adapters_rate(method, lora_lr, expected):
    assert (has_adapters(method, lora_lr), has_phases(method)) == expected
