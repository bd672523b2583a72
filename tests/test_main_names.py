"""The examples in the docstrings of the main names run as they stand there, offline, with what they say."""

import doctest
import inspect
import warnings

import pytest
import torch

import adapters_lib as al
from adapters_lib.workbook.main_names import MAIN
from adapters_lib.workbook.page_reference import example_of


def test_there_are_twenty_main_names_and_all_are_public() -> None:
    assert len(MAIN) == len(set(MAIN)) == 20
    assert set(MAIN) <= set(al.__all__)


@pytest.mark.parametrize("name", MAIN)
def test_the_example_of_a_main_name_runs_and_comes_to_what_it_says(name: str) -> None:
    example = example_of(inspect.getdoc(getattr(al, name)) or "")
    test = doctest.DocTestParser().get_doctest(example, {"al": al, "torch": torch}, name, None, 0)
    assert test.examples
    assert any(one.want for one in test.examples)
    printed: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few images are too few for this and that, which is said elsewhere
        results = doctest.DocTestRunner().run(test, out=printed.append)
    assert not results.failed, "".join(printed)
