"""The check of the built documentation finds what is wrong with a site."""

from pathlib import Path

import check_site
import pytest


@pytest.fixture
def folders(tmp_path):
    """Return a site whose start page shows the only picture, and the folder of its sources."""
    site, sources = tmp_path / "site", tmp_path / "docs"
    for folder in (site, sources):
        folder.mkdir()
        (folder / "click.png").write_bytes(b"picture")
    (site / "second.html").write_text("<h1 id='top'>Second</h1>")
    write(site, "<a href='second.html#top'>on</a> <img src='click.png' alt='A click'>")
    return site, sources


def write(site: Path, body: str) -> None:
    (site / "index.html").write_text(f"<html><body>{body}</body></html>")


def test_a_whole_site_passes(folders, capsys):
    assert check_site.main([str(folder) for folder in folders]) == 0
    assert "2 pages of the site checked, 0 problems" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("<a href='third.html'>on</a>", "third.html leads to no file"),
        ("<a href='second.html#end'>on</a>", "leads to no place on its page"),
        ("<a href='#end'>on</a>", "leads to no place on its page"),
        ("<script src='https://cdn.example/a.js'></script>", "loaded from another host"),
        ("<script src='//cdn.example/a.js'></script>", "loaded from another host"),
        ("<link rel='stylesheet' href='//cdn.example/a.css'>", "loaded from another host"),
        ("<style>@import 'https://cdn.example/a.css';</style>", "loaded from another host"),
        ("<img src='gone.png' alt='A click'>", "gone.png would be loaded and isn't there"),
        ("<img src='click.png'>", "click.png has no text"),
    ],
)
def test_what_is_wrong_on_a_page_is_reported(folders, capsys, wrong, message):
    write(folders[0], f"{wrong} <img src='click.png' alt='A click'>")
    assert check_site.main([str(folder) for folder in folders]) == 1
    assert message in capsys.readouterr().err


def test_a_link_to_another_site_is_no_problem(folders):
    body = "<a href='https://napari.org'>napari</a> <img src='click.png' alt='A click'>"
    write(folders[0], f"<link rel='canonical' href='https://example.org/'> {body}")
    assert check_site.main([str(folder) for folder in folders]) == 0


def test_a_font_from_another_host_is_reported(folders, capsys):
    (folders[0] / "fonts.css").write_text("@font-face { src: url('https://fonts.example/a.woff') }")
    assert check_site.main([str(folder) for folder in folders]) == 1
    assert "fonts.css: https://fonts.example/a.woff" in capsys.readouterr().err


def test_a_picture_that_is_on_no_page_is_reported(folders, capsys, tmp_path):
    (folders[1] / "unused.png").write_bytes(b"picture")
    arguments = [str(folder) for folder in folders]
    assert check_site.main(arguments) == 1
    assert "unused.png: the picture is on no page" in capsys.readouterr().err
    beside = tmp_path / "README.md"
    beside.write_text("![A click](docs/unused.png)")
    assert check_site.main([*arguments, str(beside)]) == 0


def test_a_large_picture_is_reported(folders, capsys):
    (folders[0] / "click.png").write_bytes(bytes(check_site.LARGEST_PICTURE + 1))
    assert check_site.main([str(folder) for folder in folders]) == 1
    assert "click.png has 1,700,001 bytes" in capsys.readouterr().err
