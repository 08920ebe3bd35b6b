"""Figures do not change because searches use words by themselves."""

import pytest

from rag_vqa.jobs.models import without_automatic_words
from rag_vqa.settings import load_settings


@pytest.mark.parametrize(
    ("asked", "measured"),
    [
        ({}, False),
        ({"hybrid": "auto"}, "auto"),
        ({"hybrid": True}, True),
        ({"hybrid": False}, False),
    ],
)
def test_figures_search_words_only_if_a_setting_says_so(asked, measured) -> None:
    settings = load_settings({"k": 3, "retriever": {"sections": True, **asked}})
    assert settings.retriever.hybrid == asked.get("hybrid", "auto")
    found = without_automatic_words(settings)
    assert found.retriever.hybrid == measured
    assert (found.k, found.retriever.sections) == (3, True)
