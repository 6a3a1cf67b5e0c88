"""A clean process of its own for the method under evaluation, and the one door to it."""
