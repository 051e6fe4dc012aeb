import re

from hypothesis import given
from hypothesis import strategies as st

from compose.render.frame import Row, Status, cells, draw

ROWS = st.lists(
    st.builds(
        Row,
        st.text(max_size=60),
        st.text(max_size=30),
        st.floats(0, 10),
        st.sampled_from(Status),
        st.none(),
        st.lists(st.text(max_size=200), max_size=8),
    ),
    max_size=40,
)


def plain(line):
    return re.sub(r"\x1b\[\d+m", "", line)


@given(ROWS, st.integers(1, 200), st.integers(2, 60))
def test_a_frame_never_leaves_the_terminal(rows, width, height):
    lines = draw(rows, 20.0, width, height)
    assert len(lines) < height
    assert all(cells(plain(line)) <= width for line in lines)


@given(ROWS, st.integers(1, 200), st.integers(2, 60))
def test_colour_changes_no_character(rows, width, height):
    coloured = [plain(line) for line in draw(rows, 20.0, width, height)]
    assert coloured == draw(rows, 20.0, width, height, colour=False)


def test_rows_show_mark_state_and_time():
    rows = [
        Row("Network shop_default", "Created", 0.0, Status.DONE, 0.12),
        Row("Container shop-web-1", "Starting", 1.0),
    ]
    assert draw(rows, 3.0, 60, 24, colour=False) == [
        "[+] Running 1/2",
        " ✔ Network shop_default Created                         0.1s",
        " ⠋ Container shop-web-1 Starting                        2.0s",
    ]


def test_columns_are_those_of_a_terminal_and_what_is_too_long_is_cut():
    rows = [
        Row("Image 絵", "Building 絵を作る", 0.0, Status.WORKING),
        Row("Image shop-web", "Pulled", 0.0, Status.DONE, 12.5),
    ]
    assert draw(rows, 3.0, 34, 24, colour=False)[1:] == [
        " ⠋ Image 絵       Buildin...  3.0s",
        " ✔ Image shop-web Pulled     12.5s",
    ]


def test_what_still_works_is_shown_before_what_is_done():
    rows = [Row(f"Container c{number}", "Started", 0.0, Status.DONE, 1.0) for number in range(20)]
    rows.append(Row("Container slow", "Starting", 0.0))
    lines = draw(rows, 1.0, 60, 8, colour=False)
    assert len(lines) == 7
    assert any("slow" in line for line in lines)
    assert lines[-1] == " ... 16 more"


def test_output_stands_under_its_row_until_it_is_done():
    row = Row("Image shop-web", "Building", 0.0, tail=["one", "two"])
    assert draw([row], 1.0, 40, 10, colour=False)[2:] == ["   one", "   two"]
    row.status = Status.DONE
    assert len(draw([row], 1.0, 40, 10, colour=False)) == 2
