"""The text file of a recording: what is written is read again, and a file cut anywhere is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.model.errors import ConfigError
from edge_agent.model.measurements import Role
from edge_agent.recording.file import ChangeSection, MessageSection, RecordingSection, read_recording, recording_text, runs_of

WHOLE = RecordingSection(
    profile="eastron-sdm630",
    origin="device",
    role=Role.GRID,
    unit=7,
    transport="rtu+tcp",
    registers={7: {"input": {52: "0x43C9 0x4CCD", 72: "0x0000 0x0001"}, "coil": {3: "0x0001"}}, 8: {"holding": {0: "0xFFFF"}}},
    changes=[ChangeSection(after=10.5, registers={7: {"input": {52: "0x0000"}}}), ChangeSection(after=20, registers={7: {"coil": {3: "0x0000"}}})],
    messages=[MessageSection(topic="a/{reply}/b", payload='{"on": true, "x": "\\" # ünï"}', retained=True), MessageSection(topic="c", after=2.5)],
    expected={"power": "402.6 W", "state": "on", "temperature": "-3.5 °C", "serial": "007", "gone": None, "ratio": "1e-05"},
    means={"power_w": "402.6 W", "status": "ready"},
    ends=120,
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
words = st.dictionaries(st.integers(0, 65535), st.integers(0, 65535), min_size=1, max_size=40)


def written(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    text = recording_text(WHOLE, ["A head: with a colon"], ["unit 7 input 100: exception 2"])
    assert read_recording(written(tmp_path, text)) == WHOLE
    assert text.startswith("# A head: with a colon\nprofile: eastron-sdm630\n")
    assert "# The device refuses:\n#   unit 7 input 100: exception 2\n" in text


@given(st.lists(st.tuples(texts, texts, st.booleans()), max_size=4), st.dictionaries(st.sampled_from("abc"), st.none() | texts), words)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_payload_reading_and_register_is_read_again(
    tmp_path: Path, messages: list[tuple[str, str, bool]], expected: dict[str, str | None], held: dict[int, int]
) -> None:
    recording = replace(
        WHOLE,
        messages=[MessageSection(topic=topic, payload=payload, retained=retained) for topic, payload, retained in messages],
        expected=expected,
        registers={1: {"holding": runs_of(held)}},
    )
    again = read_recording(written(tmp_path, recording_text(recording)))
    assert again == recording
    assert {start + place: word for start, run in again.words(1, "holding").items() for place, word in enumerate(run)} == held


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_recording_cut_in_the_middle_is_refused_with_its_line(tmp_path: Path, data: st.DataObject) -> None:
    text = recording_text(WHOLE)
    cut = text[: data.draw(st.integers(1, len(text) - 2))]
    with pytest.raises(ConfigError) as refused:
        read_recording(written(tmp_path, cut))
    assert all(problem.line <= cut.count("\n") + 1 for problem in refused.value.problems)
    assert any(problem.line for problem in refused.value.problems)


def test_cut_between_two_lines_is_told_in_words(tmp_path: Path) -> None:
    text = recording_text(WHOLE)
    cut = text[: text.index("means:")]
    with pytest.raises(ConfigError) as refused:
        read_recording(written(tmp_path, cut))
    (problem,) = refused.value.problems
    assert problem.line == cut.count("\n")
    assert problem.text == "the recording is cut in the middle: its last line, ends:, is missing"


def test_recording_from_documents_needs_no_end(tmp_path: Path) -> None:
    read_recording(written(tmp_path, "profile: eastron-sdm630\norigin: documents\n"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("registers: {1: {input: {0: 0x12345}}}", "3: registers.1.input.0: 0x12345 is no register of 16 bits"),
        ("registers: {1: {input: {0: 0xZZ}}}", "3: registers.1.input.0: "),
        ("registers: {1: {input: {65535: 0x1 0x2}}}", "3: registers.1.input.65535: 2 words at 65535 are outside 0 to 65535"),
        ("registers: {1: {inptu: {0: 0x1}}}", "3: registers.1.inptu"),
        ("changes: [{after: 3s, registers: {1: {input: {0: 70000}}}}]", "3: changes.1.input.0: 70000 is no register"),
        ("messages: [{topic: a, after: later}]", "3: messages[0].after: 'later' is no duration"),
    ],
)
def test_mistake_is_told_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_recording(written(tmp_path, f"profile: x\norigin: documents\n{line}\n"))
    assert any(f"{problem.line}: {problem.text}".startswith(said) for problem in refused.value.problems), refused.value.problems
