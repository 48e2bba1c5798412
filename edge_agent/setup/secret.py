"""Where the client secret goes: a file of its own that only its owner reads, never the site file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge_agent.config.credentials import secret_mode
from edge_agent.model.errors import EdgeAgentError
from edge_agent.setup.questions import Questions

_BESIDE = "client-secret"


def secret_from(file: str | None, questions: Questions, is_there: bool) -> str | None:
    """The secret from the option's file, standard input or the keyboard; None keeps the one that is there. Raises EdgeAgentError."""
    if file == "-":
        return _checked(sys.stdin.read().strip())
    if file is not None:
        try:
            return _checked(Path(file).read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise EdgeAgentError(f"--client-secret-file: {file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    typed = questions.secret("client secret (not shown; empty: keep the one that is there)" if is_there else "client secret (not shown)")
    if typed:
        return _checked(typed)
    if is_there:
        return None
    raise EdgeAgentError("there is no client secret: give --client-secret-file FILE, or - to hand it over on the standard input")


def _checked(secret: str) -> str:
    if not secret:
        raise EdgeAgentError("the client secret is empty")
    return secret


def secret_file(site_file: Path, named: str | None) -> tuple[Path, str]:
    """Where the secret is kept, and the value of `client_secret_file` that says so."""
    return site_file.parent / (named or _BESIDE), named or _BESIDE


def store_secret(path: Path, secret: str) -> None:
    """Writes the file anew, for its owner (that of the folder, should root do it) and the service's group alone. Raises EdgeAgentError."""
    made = path.with_name(f".{path.name}.new")
    try:
        made.unlink(missing_ok=True)
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                owner = (path if path.exists() else path.parent).stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), secret_mode(path.parent))
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise EdgeAgentError(f"{path}: {error.strerror}; the client secret could not be stored") from None
