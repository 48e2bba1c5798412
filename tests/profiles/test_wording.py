"""Mistakes in a YAML file are told in words of whoever wrote it, at the line where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config.schema import DeviceSection
from edge_agent.model.errors import ConfigError
from edge_agent.profiles.document import parse_document, read_document, validate

DEVICE = "id: m-1\nprofile: eastron-sdm630\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a:\n\t- b\n", "2: is not valid YAML: there is a tab; YAML takes spaces only"),
        ("a: @b\n", "1: is not valid YAML: a value cannot begin with @; put it in quotes"),
        ("a: *nobody\n", "1: is not valid YAML: a value cannot begin with *; put it in quotes"),
        ("a: 1\nb 2\nc: 3\n", "2: is not valid YAML: this line has no key: value; write a colon and a space after the key"),
        ("a: 1\n b: 2\n", "2: is not valid YAML: a colon where none can be; put the value in quotes, or indent the line as those around it"),
        ("a:\n  b: 1\n c: 2\n", "3: is not valid YAML: this line begins in another column than those it belongs with; indent them alike"),
        ("a: 1\nb: 'c\nd: 2\n", "2: is not valid YAML: quotes are opened here and not closed; close them"),
        ("a: [1, 2\nb: 3\n", "1: is not valid YAML: a bracket is opened here and not closed; write a comma between two entries, and ] at the end"),
        ("a: 1\n---\nb: 2\n", "2: is not valid YAML: a second document begins here; take the line --- out"),
        ('a: "\\q"\n', "1: is not valid YAML: while scanning a double-quoted scalar"),
        ("a: 1\nb: \0\n", "2: is not valid YAML: the character '\\x00' is no text; take it out"),
        ("a: &b [*b]\n", " is nested too deeply; look whether it is the right file"),
        ("a: " + "[" * 5000, " is nested too deeply; look whether it is the right file"),
    ],
)
def test_what_is_no_yaml(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_document(text, "f.yaml")
    assert str(refusal.value).startswith(f"f.yaml:{told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("unit: one\n", "unit: takes a whole number, not 'one'"),
        ("unit: 1.5\n", "unit: takes a whole number, not '1.5'"),
        ("scale: two\n", "scale: takes a number, not 'two'"),
        ("scale: 1,5\n", "scale: takes a number, not '1,5'; write a point instead of the comma"),
        ("scale: inf\n", "scale: takes a number, not 'inf'"),
        ("name: #1\n", "name: is empty"),
        ("name: [a]\n", "name: takes text"),
        ("invert: ja\n", "invert: takes true or false, not 'ja'"),
        ("Unit: 1\n", "unknown key 'Unit'; did you mean 'unit'?"),
    ],
)
def test_what_does_not_fit_the_schema(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        validate(parse_document(DEVICE + ("" if "name" in text else "name: Meter\n") + text, "f.yaml"), DeviceSection)
    assert str(refusal.value) == f"f.yaml:{3 if 'name' in text else 4}: {told}"


def test_repetition_by_reference_stays_bounded() -> None:
    levels = "abcdefgh"
    text = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 8)}]\n" for before, after in zip(levels, levels[1:], strict=False)
    )
    with pytest.raises(ConfigError, match="f.yaml:1: more than 200000 entries"):
        parse_document(text, "f.yaml")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("name: Zähler\n".encode("latin-1"), "f.yaml:1: cannot be read: it is no text in UTF-8; save it as UTF-8"),
        (b"a: 1\nb: \xff\n", "f.yaml:2: cannot be read: it is no text in UTF-8; save it as UTF-8"),
        (b"# " + b"x" * 5_000_000, "f.yaml: is larger than 4 MB; look whether it is the right file"),
    ],
)
def test_what_is_no_text_or_too_much_of_it(tmp_path: Path, body: bytes, told: str) -> None:
    (tmp_path / "f.yaml").write_bytes(body)
    with pytest.raises(ConfigError) as refusal:
        read_document(tmp_path / "f.yaml")
    assert str(refusal.value) == f"{tmp_path}/{told}"


@pytest.mark.parametrize("encoded", ["\ufeff" + DEVICE + "name: Zähler", (DEVICE + "name: Zähler").replace("\n", "\r\n")])
def test_files_of_other_systems_are_read(tmp_path: Path, encoded: str) -> None:
    (tmp_path / "f.yaml").write_bytes(encoded.encode())
    assert validate(read_document(tmp_path / "f.yaml"), DeviceSection) == DeviceSection(id="m-1", profile="eastron-sdm630", name="Zähler")
