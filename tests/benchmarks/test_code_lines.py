"""Lines of code scored by rows."""

import pytest

from benchmarks.code_lines import scores, tokens


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("params = options . get ( 'a' )", "params = options . get ( ` a ` )"),
        ('self.fooBar(x, "b")', "self . foo Bar ( x , ` b ` )"),
        ("def __init__ ( self ) :", "def __init__ ( self ) :"),
        ("a  %=  b2", "a % = b2"),
    ],
)
def test_tokens(line: str, wanted: str) -> None:
    assert tokens(line) == wanted


def test_rows_count_alike_however_long_they_are() -> None:
    right, wrong = "return self . x", "y = [ " + " , ".join(map(str, range(40))) + " ]"
    exact, mean, corpus = scores([right, right], [right, wrong])
    assert exact == 50
    assert mean == pytest.approx(50, abs=0.1)
    assert corpus < 5
    assert scores([right, "return  self.x"], [right, right]) == pytest.approx((50, 100, 100))
