"""The check of the documentation's pages finds what is wrong with one."""

import check_docs
import pytest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "conf.py").touch()
    (tmp_path / "other.md").write_text("# Other page\n")
    return tmp_path


def problems(folder, text, name="page.md"):
    (folder / name).write_text(text)
    return check_docs.check_page(folder / name)


def test_a_page_whose_links_lead_somewhere_and_whose_example_runs_passes(folder):
    assert not problems(folder, "[on](other.md#other-page)\n\n```python\nassert 1 < 2\n```\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[on](gone.md)", "page.md:1: the link gone.md leads to no file"),
        ("[on](other.md#end)", "has no heading #end"),
        ("```python\n1 / 0\n```", "ZeroDivisionError"),
    ],
)
def test_what_is_wrong_is_reported(folder, text, message):
    (problem,) = problems(folder, text)
    assert message in problem


def test_an_example_that_a_test_cannot_run_is_left_out(folder):
    assert not problems(folder, "<!-- not run: needs a screen -->\n```python\n1 / 0\n```\n")


def test_a_page_for_users_with_too_many_words_is_reported(folder):
    long = "word " * (check_docs.MOST_WORDS + 1)
    (problem,) = problems(folder, long)
    assert "words, at most" in problem
    assert not problems(folder, long, "trouble.md")


def test_a_page_beside_the_site_may_be_long(tmp_path):
    assert not problems(tmp_path, "word " * (check_docs.MOST_WORDS + 1))
