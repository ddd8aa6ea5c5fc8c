from __future__ import annotations

from pipeline.learn.report.sections import champion_section, fill, maps_section

PAGE = "<p>a</p><!--maps-->none<!--/maps--><!--champion-->\nnone\n<!--/champion--><p>b</p>"


def test_a_section_is_filled_and_filled_again():
    once = fill(PAGE, "maps", "<b>1</b>")
    assert "<!--maps--><b>1</b><!--/maps-->" in once
    assert fill(once, "maps", "<b>2</b>") == fill(PAGE, "maps", "<b>2</b>")
    assert "<!--champion-->x\\1<!--/champion-->" in fill(PAGE, "champion", "x\\1")


def test_maps_are_shown_and_more_of_them_are_named():
    section = maps_section({f"s{number}": b"\x89PNG" for number in range(8)})
    assert section.count("data:image/png;base64,iVBORw==") == 6
    assert "and 2 more" in section
    assert "more" not in maps_section({"s": b"\x89PNG"})


def test_what_people_write_is_escaped():
    section = champion_section("a < b", "models:/m/1", [("train.bands", "<script>", "all")])
    assert "&lt;script&gt;" in section
    assert "a &lt; b" in section
    assert "<table>" not in champion_section("nothing differs")
