"""docs/cli.md and README's table of commands, from the parser of ``golf.cli.main``."""

import argparse

from golf.cli import main

__all__ = ["find_subparsers", "get_commands", "render_commands", "render_summary"]


def get_commands() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return name -> one line of help and the parser of each command, in the order of ``golf --help``."""
    subparsers = find_subparsers(main.build_parser())
    helps = {action.dest: action.help or "" for action in subparsers._choices_actions}
    return {name: (helps.get(name, ""), parser) for name, parser in subparsers.choices.items()}


def find_subparsers(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    """Return the parser's one set of commands. Raises StopIteration where it has none."""
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def render_summary() -> str:
    """Return Markdown: a table of commands, one line each."""
    rows = [f"| `golf {_format_usage(name, parser)}` | {text} |" for name, (text, parser) in get_commands().items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows, ""])


def render_commands() -> str:
    """Return Markdown: a heading, description, example and table of arguments for each command."""
    parts = []
    for name, (text, parser) in get_commands().items():
        description = " ".join((parser.description or text).split())
        description = f"{description[:1].upper()}{description[1:]}{'' if description.endswith(('.', '?')) else '.'}"
        lines = [f"## golf {name}", "", f"`golf {_format_usage(name, parser)}`", "", description, ""]
        if parser.epilog:
            text = parser.epilog.removeprefix("example: ")
            lines += [f"Example: `{text}`", ""]
        arguments = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
        if arguments:
            lines += ["| argument | meaning |", "|---|---|"]
            lines += [f"| `{_format_argument(action)}` | {_format_help(action)} |" for action in arguments]
            lines.append("")
        parts.append("\n".join(lines))
    return "\n".join([*parts, ""])


def _format_usage(name: str, parser: argparse.ArgumentParser) -> str:
    """The command and its positional arguments: optional ones in brackets."""
    words = [name]
    for action in parser._actions:
        if action.option_strings:
            continue
        metavar = _get_metavar(action)
        metavar += " …" if action.nargs in ("*", "+") else ""
        words.append(f"[{metavar}]" if action.nargs in ("?", "*") else metavar)
    return " ".join(words)


def _format_argument(action: argparse.Action) -> str:
    metavar = _get_metavar(action)
    if not action.option_strings:
        return metavar
    options = ", ".join(action.option_strings)
    if action.nargs == 0:
        return options
    return f"{options} {metavar}{' …' if action.nargs in ('+', '*') else ''}"


def _get_metavar(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()


def _format_help(action: argparse.Action) -> str:
    if action.help == "%(default)s":
        return f"default: `{action.default}`"
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%(prog)s", "golf")
    return text.replace("|", "\\|")
