"""What the YAML reader and pydantic complain of, in words for whoever wrote the file: what is wrong, and what to write instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edge_agent.codec.human import nearest

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError

# A part of the reader's message: what it means, what to do, and whether the mistake is where the reader began (else where it stopped).
_SYNTAX = (
    (r"found character '\\t'", "there is a tab", "YAML takes spaces only", False),
    (r"found character '([^'])'", "a value cannot begin with {}", "put it in quotes", False),
    (r"found undefined alias", "a value cannot begin with *", "put it in quotes", True),
    (r"could not find expected ':'", "this line has no key: value", "write a colon and a space after the key", True),
    (r"mapping values are not allowed", "a colon where none can be", "put the value in quotes, or indent the line as those around it", False),
    (r"expected <block end>", "this line begins in another column than those it belongs with", "indent them alike", False),
    (r"quoted scalar found unexpected end", "quotes are opened here and not closed", "close them", True),
    (r"expected ',' or '([}\]])'", "a bracket is opened here and not closed", "write a comma between two entries, and {} at the end", True),
    (r"expected a single document", "a second document begins here", "take the line --- out", False),
)
_PATTERNS = {
    r"^[A-Z]{2}$": "two capital letters, such as AT",
    r"^[A-Z]{3}$": "three capital letters, such as EUR",
    r"^\d+(\.\d+)?$": "a number with a point, such as 0.31",
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
}
_BOUNDS = {"less_than": "less than", "less_than_equal": "at most", "greater_than": "more than", "greater_than_equal": "at least"}


def syntax_mistake(error: MarkedYAMLError) -> tuple[int, str, str]:
    """Line (from 1; 0 for unknown), text and hint for text that is no YAML."""
    message = " ".join(str(part) for part in (error.context, error.problem) if part)
    for pattern, text, hint, where_it_began in _SYNTAX:
        if found := re.search(pattern, message):
            mark = (error.context_mark if where_it_began else None) or error.problem_mark
            symbol = found[1] if found.groups() else ""
            return mark.line + 1 if mark else 0, f"is not valid YAML: {text.format(symbol)}", hint.format(symbol)
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 0, f"is not valid YAML: {message}", "check the indentation and the quotes"


def value_mistake(errors: list[Any]) -> tuple[str, str]:
    """Text and hint for a value that pydantic refuses, once for each type that may stand there."""
    error = errors[0]
    kind, given, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, "), ""
    if given is None:
        return "is empty", ""
    shown = f", not {given!r}" if isinstance(given, str) else ""
    if kind in ("enum", "literal_error"):
        expected = " or ".join(one["ctx"]["expected"] for one in errors if "expected" in one.get("ctx", {}))
        hint = nearest(given, re.findall(r"'([^']*)'", expected)) if shown else ""
        return f"takes {expected}{shown}", hint if hint.startswith("did") else ""
    if kind in _BOUNDS:
        return f"takes {_BOUNDS[kind]} {next(iter(context.values())):g}{shown}", ""
    if kind == "string_pattern_mismatch":
        return f"takes {_PATTERNS.get(context['pattern'], 'text of the form ' + context['pattern'])}{shown}", ""
    wanted = _KINDS.get(kind.partition("_")[0])
    hint = "write a point instead of the comma" if wanted == "a number" and "," in str(given) else ""
    return f"takes {wanted}{shown}" if wanted else f"{error['msg']}{shown}", hint
