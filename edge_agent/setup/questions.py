"""Asking at a terminal, or not at all: every question has an option that answers it."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Sequence

from edge_agent.model.errors import EdgeAgentError

Check = Callable[[str], str | None]  # what is wrong with an answer, None when nothing is


class Questions:
    """Asks when there is somebody to ask. Else a default is the answer, and where there is none an error names the option."""

    def __init__(self, interactive: bool) -> None:
        self.interactive = interactive

    @classmethod
    def of_terminal(cls, yes: bool) -> Questions:
        """Asks when input and errors are a terminal and `--yes` was not given."""
        return cls(not yes and sys.stdin.isatty() and sys.stderr.isatty())

    def text(self, question: str, option: str, given: str | None, default: str = "", check: Check = lambda _: None, required: bool = True) -> str:
        """The option's value, else the answer, else the default. Raises EdgeAgentError for one that `check` refuses, or when none is there."""
        if given is not None:
            if problem := check(given):
                raise EdgeAgentError(f"{option}: {problem}")
            return given
        while self.interactive:
            answer = _line(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
            problem = check(answer) if answer else "an answer is needed" if required else None
            if problem is None:
                return answer
            print(f"  {problem}", file=sys.stderr)
        if default or not required:
            return default
        raise EdgeAgentError(f"there is no terminal to ask at: give {option}")

    def yes(self, question: str, default: bool) -> bool:
        """Yes or no; the default when nobody can be asked."""
        while self.interactive:
            answer = _line(f"{question} [{'Y/n' if default else 'y/N'}]: ").strip().lower()
            if answer in ("", "y", "yes", "n", "no"):
                return default if not answer else answer.startswith("y")
        return default

    def choice(self, question: str, options: Sequence[str]) -> str | None:
        """One of several by its number; None for none of them, or when nobody can be asked."""
        for number, option in enumerate(options, 1):
            self.tell(f"  {number}. {option}")
        while self.interactive:
            answer = _line(f"{question} [1-{len(options)}, empty: none]: ").strip()
            if not answer:
                return None
            if answer.isdigit() and 0 < int(answer) <= len(options):
                return options[int(answer) - 1]
        return None

    def secret(self, question: str) -> str | None:
        """What is typed without being shown; None when nobody can be asked."""
        return getpass.getpass(f"{question}: ", sys.stderr).strip() if self.interactive else None

    def tell(self, text: str) -> None:
        """A line beside the questions: on stderr, as they are."""
        print(text, file=sys.stderr)


def _line(prompt: str) -> str:
    """One line of input; the prompt goes to stderr, so that stdout stays a program's."""
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EdgeAgentError("the input ended; nothing was written")
    return line
