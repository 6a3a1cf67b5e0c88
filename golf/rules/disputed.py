"""Matters that nobody has ruled on: UNRULED with the thread's number, so that a reader can judge for themselves."""

from golf.rules.finding import NOT_RUN, UNRULED, Finding, judged

THREADS = {  # what a method may call itself, and where it is argued
    "causal SLOT": "#1336",
    "casefold": "#1604",
    "hashed n-gram cache": "#948",
    "files derived from training text": "#847",
}
READING = "reading code errs both ways (#918, #1094, #1147)"


def findings(epochs: int, declared: list[str], prequant: int = 0) -> list[Finding]:
    """epochs: of the headline's plan over a scored chunk, 0 without one; declared: by the method of itself; prequant:
    epochs over val before it was scored, which C1-e and C3-f judge.
    """
    merged = "#549 and #1493 were merged with 3 epochs; asked in #1698, no ruling"
    named = [f"{name} ({THREADS.get(name, 'no thread known')})" for name in declared]
    return [
        Finding("C1-d", NOT_RUN, note=f"{READING}; C1-b tests it by running"),
        Finding("C2-e", NOT_RUN, note=f"{READING}; C2-c and C2-d test it by running"),
        Finding("U-a", UNRULED, counted(epochs, prequant), "1", merged)
        if epochs + prequant > 1
        else judged("U-a", True, counted(epochs, prequant), "1"),
        Finding("U-b", UNRULED, ", ".join(named), "", f"{', '.join(named)}: no ruling")
        if named
        else judged("U-b", True, "nothing declared", ""),
    ]


def counted(epochs: int, prequant: int) -> str:
    before = f", and {prequant} of prequant on val before" * (prequant > 0)
    return f"{epochs} epoch{'s' * (epochs != 1)}{before}"
