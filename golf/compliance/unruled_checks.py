"""Matters that nobody has ruled on: UNRULED with the thread's number, so that a reader can judge for themselves."""

from golf.compliance.check_result import NOT_RUN, UNRULED, CheckResult, pass_or_fail

_THREADS = {  # what a method may call itself, and where it is argued
    "causal SLOT": "#1336",
    "casefold": "#1604",
    "hashed n-gram cache": "#948",
    "files derived from training text": "#847",
}
_CODE_READING_NOTE = "reading code errs both ways (#918, #1094, #1147)"


def check_unruled(epochs: int, declared_techniques: list[str], prequant_epochs: int = 0) -> list[CheckResult]:
    """epochs: of the headline's plan over a scored chunk, 0 without one; declared: by the method of itself; prequant:
    epochs over val before it was scored, which C1-e and C3-f judge.
    """
    epochs_note = "#549 and #1493 were merged with 3 epochs; asked in #1698, no ruling"
    labels = [f"{name} ({_THREADS.get(name, 'no thread known')})" for name in declared_techniques]
    return [
        CheckResult("C1-d", NOT_RUN, note=f"{_CODE_READING_NOTE}; C1-b tests it by running"),
        CheckResult("C2-e", NOT_RUN, note=f"{_CODE_READING_NOTE}; C2-c and C2-d test it by running"),
        CheckResult("U-a", UNRULED, _format_epochs(epochs, prequant_epochs), "1", epochs_note)
        if epochs + prequant_epochs > 1
        else pass_or_fail("U-a", True, _format_epochs(epochs, prequant_epochs), "1"),
        CheckResult("U-b", UNRULED, ", ".join(labels), "", f"{', '.join(labels)}: no ruling")
        if labels
        else pass_or_fail("U-b", True, "nothing declared", ""),
    ]


def _format_epochs(epochs: int, prequant_epochs: int) -> str:
    suffix = f", and {prequant_epochs} of prequant on val before" * (prequant_epochs > 0)
    return f"{epochs} epoch{'s' * (epochs != 1)}{suffix}"
