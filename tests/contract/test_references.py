"""Every method names the papers behind it, so that a run can say what to cite."""

from __future__ import annotations

import re

import pytest

from core.methods import registry

NAMED_BY_ITS_USER = {"external", "network"}  # their programs and models say what to cite


@pytest.mark.parametrize("family", registry.families(), ids=lambda family: family.name)
def test_a_family_names_papers_of_each_of_its_methods(family):
    assert family.references.keys() == {method.name for method in family.methods}


@pytest.mark.parametrize("method", sorted(registry.methods().keys() - NAMED_BY_ITS_USER))
def test_a_method_names_a_paper_with_a_doi_and_those_of_its_source(method):
    references = registry.references_of(method)
    assert references
    for reference in references:
        assert re.fullmatch(r"10\.\d{4,5}/\S+", reference.doi)
        assert re.match(r"[^()]+ \(\d{4}\)\. .+\.$", reference.text)
    for surname, year in re.findall(r"([A-Z][\w-]+)(?: et al\.| and [A-Z][\w-]+)? (\d{4})", registry.method_entry(method).source):
        begins = re.compile(rf"{surname}\b[^()]* \({year}\)")
        assert any(begins.match(reference.text) for reference in references), f"no text of references is {surname}'s of {year}"
