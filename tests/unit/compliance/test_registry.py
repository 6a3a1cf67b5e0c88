import pytest

from golf.compliance import registry
from golf.compliance.check_result import NOT_RUN, CheckResult, Outcome


def skip_check(_context) -> Outcome:
    return Outcome(NOT_RUN, "3 of 4", "4", "why")


@pytest.mark.parametrize("check_id", ["C1-a", "X-a", "a"])
def test_an_id_that_is_taken_or_of_no_known_group_is_refused(check_id):
    with pytest.raises(ValueError, match=f"check {check_id}: the id must be new"):
        registry.check(check_id, "a title", required=True)(skip_check)


def test_a_new_check_puts_its_id_on_the_outcome_and_takes_its_place_in_the_order(monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    registry.check("C4-e", "a title", required=False)(skip_check)

    assert registry.list_checks()["C4-e"].run(None) == CheckResult("C4-e", NOT_RUN, "3 of 4", "4", "why")
    ids = list(registry.list_checks())
    assert ids[ids.index("C4-d") : ids.index("M-a") + 1] == ["C4-d", "C4-e", "M-a"]
