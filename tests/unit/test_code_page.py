"""The page of the code names what there is."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")


def test_every_room_is_on_the_page_in_its_own_words() -> None:
    rooms = {
        path.parent.relative_to(ROOT / "pacs_server").as_posix(): ast.get_docstring(ast.parse(path.read_text("utf-8")))
        for path in (ROOT / "pacs_server").rglob("__init__.py")
    }
    del rooms["."]
    assert dict(re.findall(r"^\| [1-9] \| `(.+)/` \| (.+) \|$", PAGE, re.MULTILINE)) == rooms


def test_every_file_and_folder_that_the_page_names_is_there() -> None:
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", PAGE)
    assert len(named) > 30
    places = (ROOT, ROOT / "pacs_server", ROOT / "tests")
    assert [one for one in named if not any((place / one).exists() for place in places)] == []
