"""Somebody else's submission folder: what it holds, what it claims, what can be checked without a GPU or running it."""
