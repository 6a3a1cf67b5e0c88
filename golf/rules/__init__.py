"""The rules of the game as checks that run: what each asks, what was found, and what may be said of the whole."""
