"""The gallery: every known family of invalid submission as small as it can be, and beside it the innocent.

A file is one case. ``CASE`` says what it is (``gallery.case``); ``Method``, where there is one, is put on trial with
the honest predictor's artifact; ``arrange(place)`` changes the project first; ``examine(place)`` takes the place of
evaluate where a case ends before it. Facts: the catalogue of invalidated submissions to openai/parameter-golf.
"""
