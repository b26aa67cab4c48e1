"""Every row of docs/hostile.md is shown by the tests that it names, and no row is missing."""

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = (
    *(1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16),  # connections and PDUs
    *(17, 18, 20, 21, 23, 24, 25, 26, 28, 29),  # association requests
    *(31, 32, 34, 35, 36, 37, 38, 40, 41, 42, 43, 44, 46),  # messages
    *(47, 48, 49, 50, 51, 52, 54, 56, 57, 58, 60),  # data sets and files
    *(61, 62, 64, 65, 66),  # UIDs, paths, volumes, imports
    *(67, 68, 70, 77, 78),  # character sets, command line, injection
)
# In the name of a test or of one of its cases: "row 7: HTTP", "rows 24, 25", test_row_42_...
_NAMED = re.compile(r'(?:"rows? |"row |def test_row_)(\d+(?:, \d+)*)')
_TOLD = re.compile(r"^\| (\d+) \|.*\| (`test_.*`) \|$", re.MULTILINE)


def shown() -> dict[int, set[str]]:
    """The files that hold each row, by its number in what they call their tests and cases."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_hostile_*.py"):
        if path != Path(__file__):
            for numbers in _NAMED.findall(path.read_text(encoding="utf-8")):
                for number in numbers.split(", "):
                    found[int(number)].add(path.name)
    return found


def test_no_row_is_missing_and_each_names_the_files_that_show_it() -> None:
    told = _TOLD.findall((ROOT / "docs" / "hostile.md").read_text(encoding="utf-8"))
    named = {int(number): set(re.findall(r"`(test_\w+\.py)`", files)) for number, files in told}
    assert sorted(named) == sorted(ROWS)
    assert named == shown()
