"""Whether two files hold equal objects, element by element, also when their transfer syntaxes differ."""

import array
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName
from pydicom.values import convert_SQ

_DATA_SET_TRAILING_PADDING = 0xFFFCFFFC
_ITEM = b"\xfe\xff\x00\xe0"
# Values that are stored in words, whose bytes change places between big and little endian (PS3.5 section 7.3).
_WORD_BYTES = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4}
_WORD_BYTES |= {"FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8}
_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC"})
_ARRAY_TYPES = {2: "H", 4: "I", 8: "Q"}


def differences(first: Path, second: Path) -> list[str]:
    """What differs between the data sets of two files, one line for each element; nothing when they are equal.

    Group lengths and trailing padding are passed over: they say how something is encoded, not what it is. So is the
    padding of a value to an even length, which DCMTK mends while it sends.
    """
    left, right = (dict(_elements(pydicom.dcmread(path))) for path in (first, second))
    lines = [f"{path}: only in {first.name}" for path in left.keys() - right.keys()]
    lines += [f"{path}: only in {second.name}" for path in right.keys() - left.keys()]
    both = (path for path in left if path in right and left[path] != right[path])
    return sorted([*lines, *(f"{path}: {left[path][:60]!r} is not {right[path][:60]!r}" for path in both)])


def _elements(dataset: Dataset, place: str = "") -> Iterator[tuple[str, bytes]]:
    for tag in sorted(dataset.keys()):
        if tag.element == 0 or tag == _DATA_SET_TRAILING_PADDING:
            continue
        name = f"{place}{tag}"
        element = dataset.get_item(tag)
        assert element is not None
        items = _items(dataset, element)
        if items is None:
            yield name, _value(element)
            continue
        yield name, b"sequence of %d" % len(items)
        for number, item in enumerate(items):
            yield from _elements(item, f"{name}[{number}]")


def _items(dataset: Dataset, element: DataElement | RawDataElement) -> Sequence | None:
    if isinstance(element, RawDataElement):
        vr = element.VR or _public_vr(element)
        if vr == "UN" and element.is_implicit_VR and element.value and element.value.startswith(_ITEM):
            return convert_SQ(element.value, is_implicit_VR=True, is_little_endian=True)
        if vr == "SQ":
            element = dataset[element.tag]
    return element.value if isinstance(element.value, Sequence) else None


def _value(element: DataElement | RawDataElement) -> bytes:
    """The value's bytes in little endian, without the one byte that may pad it to an even length."""
    value = _undecoded(element.value)
    vr = element.VR or _public_vr(element)
    is_big_endian = isinstance(element, RawDataElement) and not element.is_little_endian
    if is_big_endian and (size := _WORD_BYTES.get(vr)) and len(value) % size == 0:
        words = array.array(_ARRAY_TYPES[size], value)
        words.byteswap()
        value = words.tobytes()
    if vr in _TEXT_VRS:  # spaces around a value mean nothing (PS3.5 section 6.2), and DCMTK leaves some out
        return b"\\".join(part.strip(b" ") for part in value.split(b"\\"))
    return value[:-1] if len(value) % 2 == 0 and value[-1:] in (b"\0", b" ") else value


def _undecoded(value: object) -> bytes:
    """The bytes again of the few values that pydicom decodes while it reads: empty ones, character sets, one number."""
    if isinstance(value, MultiValue):
        value = "\\".join(value)
    if isinstance(value, (str, PersonName)):
        value = str(value).encode("ascii")
    if isinstance(value, int):
        value = value.to_bytes(2, "little")
    assert value is None or isinstance(value, bytes), f"pydicom decoded {value!r}"
    return value or b""


def _public_vr(element: DataElement | RawDataElement) -> str:
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "UN"
