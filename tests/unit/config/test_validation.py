from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.config import validation
from golf.config.validation import Decay, Fraction, NonNegativeInt, Range

PositiveInt = Annotated[int, Range(low=1)]
PositiveFloat = Annotated[float, Range(low=0, open_low=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Oven:
    heat: PositiveFloat
    minutes: PositiveInt
    fan: bool
    shelf: Literal["top", "middle"]
    note: str
    trays: tuple[NonNegativeInt, ...]
    limit: Fraction | None

    def validate(self):
        if self.fan and self.heat > 200:
            yield "heat", "too hot with the fan on"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kitchen:
    oven: Oven
    cooks: PositiveInt

    def validate(self):
        if self.cooks > self.oven.minutes:
            yield "cooks", "more cooks than minutes"


GOOD = {"heat": 180.0, "minutes": 30, "fan": False, "shelf": "top", "note": "", "trays": [1, 2], "limit": None}


def oven(**changes):
    return validation.from_mapping(Oven, GOOD | changes, "oven")


def kitchen(*, cooks=1, **changes):
    return validation.from_mapping(Kitchen, {"oven": GOOD | changes, "cooks": cooks}, "")


def test_a_valid_mapping_becomes_the_dataclass():
    instance, problems = oven()
    assert problems == []
    assert instance == Oven(**(GOOD | {"trays": (1, 2)}))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"heat": "abc"}, "oven.heat: must be a number, got 'abc'"),
        ({"heat": True}, "oven.heat: must be a number, got True"),
        ({"heat": None}, "oven.heat: must be a number, got nothing (null)"),
        ({"heat": 0}, "oven.heat: must be above 0, got 0"),
        ({"heat": float("nan")}, "oven.heat: must be a finite number, got nan"),
        ({"heat": float("-inf")}, "oven.heat: must be a finite number, got -inf"),
        ({"heat": 10**400}, "oven.heat: must be a finite number, got inf"),
        ({"minutes": True}, "oven.minutes: must be a whole number, got True"),
        ({"minutes": 3.0}, "oven.minutes: must be a whole number, got 3.0"),
        ({"minutes": 0}, "oven.minutes: must be at least 1, got 0"),
        ({"minutes": -(10**5000)}, "oven.minutes: must be at least 1, got an integer of more than 4,300 digits"),
        ({"fan": 1}, "oven.fan: must be true or false, got 1"),
        ({"fan": "yes"}, "oven.fan: must be true or false, got 'yes'"),
        ({"shelf": "botom"}, "oven.shelf: must be one of top, middle, got 'botom'"),
        ({"shelf": ["top"]}, "oven.shelf: must be one of top, middle, got ['top']"),
        ({"note": 3}, "oven.note: must be text, got 3"),
        ({"note": {"a": 1}}, "oven.note: must be text, got a section"),
        ({"trays": 4}, "oven.trays: must be a list, got 4"),
        ({"trays": [1, -1]}, "oven.trays[1]: must be at least 0, got -1"),
        ({"trays": [None]}, "oven.trays[0]: must be a whole number, got nothing (null)"),
        ({"limit": 2}, "oven.limit: must be at least 0 and at most 1 or null, got 2"),
        ({"limit": ""}, "oven.limit: must be a number or null, got ''"),
    ],
)
def test_an_invalid_value_is_reported_with_its_key_and_what_is_allowed(change, problem):
    assert oven(**change) == (None, [problem])


def test_a_whole_number_is_accepted_as_a_float():
    instance, problems = oven(heat=200)
    assert problems == []
    assert type(instance.heat) is float


def test_null_is_allowed_only_where_the_type_says_so():
    assert oven(limit=None)[1] == []
    for key in GOOD.keys() - {"limit"}:
        assert len(oven(**{key: None})[1]) == 1


@pytest.mark.parametrize("section", [None, 3, "hot", ["heat"]])
def test_a_section_must_be_a_mapping(section):
    instance, problems = validation.from_mapping(Kitchen, {"oven": section, "cooks": 1}, "")
    assert instance is None
    assert problems == [f"oven: expected a section with keys, got {validation.format_value(section)}"]


def test_a_long_value_is_abbreviated():
    assert len(oven(heat="x" * 10_000)[1][0]) < 100
    nested = "x" * 30
    for _ in range(10):
        nested = [nested] * 10
    assert len(oven(heat=nested)[1][0]) < 200


def test_a_key_that_is_long_or_breaks_the_line_is_shown_in_short():
    assert oven(**{"x" * 10_000: 1})[1] == [f"oven.{'x' * 60}: unknown key"]
    assert oven(**{"a\nb": 1})[1] == ["oven.'a\\nb': unknown key"]


def test_keys_that_are_not_text_are_unknown():
    assert oven(**{}) == oven()
    _, problems = validation.from_mapping(Oven, GOOD | {7: 1, None: 2, 10**5000: 3}, "oven")
    assert problems == [
        "oven.7: unknown key",
        "oven.nothing (null): unknown key",
        "oven.an integer of more than 4,300 digits: unknown key",
    ]


def test_every_kind_of_problem_is_reported_at_once():
    broken = {"heat": "hot", "minutes": 0, "fan": 1, "shelf": "up", "trays": [1, "b"], "limit": 7, "fann": 1}
    _, problems = validation.from_mapping(Kitchen, {"oven": broken, "cooks": 1.5, "chef": 1}, "")
    assert [problem.split(":")[0] for problem in problems] == [
        "chef",
        "oven.fann",
        "oven.heat",
        "oven.minutes",
        "oven.fan",
        "oven.shelf",
        "oven.note",
        "oven.trays[1]",
        "oven.limit",
        "cooks",
    ]


def test_an_unknown_key_hides_no_contradiction():
    assert [p.split(":")[0] for p in oven(fan=True, heat=250, grill=1)[1]] == ["oven.grill", "oven.heat"]


def test_a_contradiction_in_a_section_hides_none_between_sections():
    assert [p.split(":")[0] for p in kitchen(cooks=31, fan=True, heat=250)[1]] == ["oven.heat", "cooks"]


def test_contradictions_are_not_checked_where_a_field_is_invalid():
    assert [p.split(":")[0] for p in kitchen(cooks=31, minutes="many")[1]] == ["oven.minutes"]


@given(st.floats(allow_nan=False))
def test_a_range_includes_its_closed_ends(value):
    assert Range(low=0, high=1).contains(value) == (0 <= value <= 1)
    assert Range(low=0, high=1, open_low=True, open_high=True).contains(value) == (0 < value < 1)


def test_a_decay_of_one_is_refused():
    assert validation.coerce(Decay, 1.0, "ema.decay") == (None, ["ema.decay: must be at least 0 and below 1, got 1.0"])
    assert validation.coerce(Decay, 0.9965, "ema.decay") == (0.9965, [])


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(JUNK)
def test_arbitrary_values_give_problems_and_never_an_exception(junk):
    instance, problems = validation.from_mapping(Kitchen, {"oven": junk, "cooks": 1}, "")
    assert problems
    assert instance is None
    assert all(isinstance(problem, str) for problem in problems)
    _, problems = validation.from_mapping(Kitchen, junk, "")
    assert problems


@given(st.fixed_dictionaries(dict.fromkeys(GOOD, JUNK)))
def test_an_arbitrary_field_is_accepted_or_reported(mapping):
    instance, problems = validation.from_mapping(Oven, mapping, "oven")
    assert (instance is None) == any("must be" in problem for problem in problems)
    assert all(problem.startswith("oven.") for problem in problems)


def test_a_range_describes_itself():
    assert str(Range(low=2, high=8)) == "at least 2 and at most 8"
    assert str(Range(low=0, open_low=True)) == "above 0"
    assert str(Range(low=1e-9, high=2**63 - 1)) == "at least 1e-09 and at most 9,223,372,036,854,775,807"
    assert validation.coerce(Annotated[int, Range(high=4)], 5, "k") == (None, ["k: must be at most 4, got 5"])
