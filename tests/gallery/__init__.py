"""The gallery: every known family of invalid submission, as small as it can be, and compliant predictors beside them.

Each module is one case. ``CASE`` describes it (``gallery.case``). ``CasePredictor``, if present, is evaluated with the
compliant predictor's artifact. ``prepare_project(project_dir)`` changes the project first. ``HAS_DOCS_CORPUS``: the
corpus is docstrings of installed packages. A case that is checked without evaluate has
``check_submission(project_dir)``. The facts come from invalidated submissions to openai/parameter-golf.
"""
