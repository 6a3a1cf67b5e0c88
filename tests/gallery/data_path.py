"""Where val lies; the project of a test has its own folder here, as no environment variable reaches the sandbox."""

DATA_PATH = ""
