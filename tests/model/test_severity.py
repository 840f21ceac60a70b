"""The four severities: their order, their words, and what is none of them."""

from __future__ import annotations

import pytest

from tapewatch.model.severity import AlertSeverity


@pytest.mark.requirement("S5-59", "S5-71")
def test_there_are_four_and_each_is_worse_than_the_one_before() -> None:
    assert [s.name for s in AlertSeverity] == ["INFO", "WARNING", "CRITICAL", "EMERGENCY"]
    assert sorted(AlertSeverity) == list(AlertSeverity)


@pytest.mark.requirement("S5-71")
@pytest.mark.parametrize("severity", AlertSeverity, ids=str)
def test_a_severity_is_read_in_any_letter_case_and_shown_in_two(severity: AlertSeverity) -> None:
    for text in (severity.name, severity.label, severity.name.title(), f" {severity.label} "):
        assert AlertSeverity.parse(text) is severity
    assert str(severity) == severity.name
    assert severity.label == severity.name.lower()


@pytest.mark.requirement("S5-71")
@pytest.mark.parametrize("text", ["", "warn", "20", "page"])
def test_another_word_is_refused_with_the_words_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="expected one of info, warning, critical, emergency"):
        AlertSeverity.parse(text)
