"""The fields that somebody needs of an annotation file, with their types.

Everything else in the file may be anything. Masks stay bytes.
"""
import json
import math
import re
from typing import Any, List, Optional, Tuple, Union

import msgspec

#: Whole numbers; some tools write ``3.0``.
Whole = Union[int, float]
Flag = Union[bool, int, float, None]
_BOM = b'\xef\xbb\xbf'
_KINDS = dict(
    int='a whole number', str='text', array='a list', object='an object',
    float='a number', bool='true or false')  # yapf: disable
_PLACE = re.compile(r'^(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?$', re.S)


class ImageRecord(msgspec.Struct, gc=False):
    """An image, as the file has it."""
    id: Whole
    height: Whole
    width: Whole
    file_name: Optional[str] = None
    coco_url: Any = None
    neg_category_ids: Optional[List[Whole]] = None
    not_exhaustive_category_ids: Optional[List[Whole]] = None


class CategoryRecord(msgspec.Struct, gc=False):
    """A category, as the file has it."""
    id: Whole
    name: Union[str, int, float]
    frequency: Any = None
    image_count: Any = None


class ObjectRecord(msgspec.Struct, gc=False):
    """An annotation, as the file has it."""
    image_id: Whole
    category_id: Whole
    bbox: Tuple[float, float, float, float]
    id: Optional[Whole] = None
    area: Optional[float] = None
    iscrowd: Flag = None
    ignore: Flag = None
    segmentation: msgspec.Raw = msgspec.Raw()


class FileRecord(msgspec.Struct):
    """The whole file; without annotations it is a test set.

    These stay JSON text, since half a million records at once would need
    more memory than the file.
    """
    images: List[ImageRecord]
    categories: List[CategoryRecord]
    annotations: Optional[List[msgspec.Raw]] = None


_DECODER = msgspec.json.Decoder(FileRecord)
_OBJECT_DECODER = msgspec.json.Decoder(ObjectRecord)


def decode(data: bytes, name: str) -> Tuple[FileRecord, bytes]:
    """Decode a COCO/LVIS annotation file.

    Python's own reader is asked where the strict one fails: it takes ``NaN``
    and other encodings than UTF-8, as the host does.

    Args:
        data: What the file holds.
        name: Of the file, for messages.

    Returns:
        The records, and the bytes that their masks point into: the given
        ones, unless they had to be rewritten.

    Raises:
        ValueError: If the file is damaged, or a field that is needed is
            missing or of another type; it names the place.
    """
    start = len(_BOM) if data[:len(_BOM)] == _BOM else 0
    try:
        return _DECODER.decode(memoryview(data)[start:]), data
    except msgspec.ValidationError as error:
        raise ValueError(_explain(error, data[start:], name)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        data = _rewrite(bytes(data), name, error)
    except RecursionError as error:
        raise ValueError(f'"{name}" is nested too deeply to be an annotation '
                         f'file; export or write it again') from error
    return decode(data, name)


def _rewrite(data: bytes, name: str, reason: Exception) -> bytes:
    """Turn what only Python reads into strict JSON; NaN becomes null."""
    try:
        text = data.decode(json.detect_encoding(data), 'surrogatepass')
        value = json.loads(
            text.lstrip('\ufeff'),
            parse_float=_finite,
            parse_constant=lambda constant: None)
        return json.dumps(value, ensure_ascii=False).encode(errors='replace')
    except UnicodeDecodeError as error:
        raise ValueError(f'"{name}" is not text in UTF-8 ({error}); save it '
                         f'as UTF-8') from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f'"{name}" is not a whole JSON file ({reason}); '
                         f'download or write it again') from error


def _finite(text: str) -> Optional[float]:
    number = float(text)
    return number if math.isfinite(number) else None


def decode_objects(raws: List[msgspec.Raw], first: int,
                   name: str) -> List[ObjectRecord]:
    """Decode some of the annotations of a file.

    Args:
        raws: JSON text of each.
        first: Number of the first of them in the file.
        name: Of the file, for messages.

    Returns:
        The records.

    Raises:
        ValueError: As for :func:`decode`.
    """
    items = []
    try:
        for raw in raws:
            items.append(_OBJECT_DECODER.decode(raw))
    except msgspec.ValidationError as error:
        number = len(items)
        raise ValueError(
            _explain(error, bytes(raws[number]), name,
                     f'annotations[{first + number}]')) from error
    return items


def _explain(error: Exception,
             data: bytes,
             name: str,
             parent: str = '') -> str:
    """Turn ``Expected `int`, got `str` - at `$.images[3].id``` into words."""
    match = _PLACE.match(str(error))
    what, inner = match['what'], match['where'] or ''
    where = '.'.join(filter(None, (parent, inner)))
    missing = re.search(r'missing required field `(.*)`', what)
    if missing:
        place = '.'.join(filter(None, (where, missing[1])))
        return f'{name}: {place} is missing; {_mend(place)}'
    wanted = re.search(r'Expected `(.*?)`(.*?)(?:, got .*)?$', what)
    expected = 'a number that is not so large'
    if wanted:
        expected = _wanted(wanted[1], where) + wanted[2]
    place = where or 'the file'
    return f'{name}: {place} must be {expected}{_found(data, inner)}; ' \
           f'{_mend(where)}'


def _found(data: bytes, where: str) -> str:
    """Show what stands at a place, as far as Python can read the file."""
    try:
        value = json.loads(data.decode(errors='replace'))
    except (ValueError, RecursionError):
        return ''  # damaged further on
    for key, index in re.findall(r'([^.\[\]]+)|\[(\d+)\]', where):
        value = value[key] if key else value[int(index)]
    found = json.dumps(value)
    return f', but is {found if len(found) <= 60 else found[:57] + "..."}'


def _wanted(types: str, where: str) -> str:
    """Say what a type means at a place."""
    field = where.rsplit('.', 1)[-1]
    if re.fullmatch(r'(.*_)?id|.*_ids\[\d+\]|height|width', field):
        return 'a whole number'
    kinds = [k for k in types.split(' | ') if k != 'null']
    if 'str' in kinds:
        return 'text'
    if set(kinds) == {'int', 'float'} or kinds == ['float']:
        return 'a number'
    if set(kinds) >= {'bool', 'int'}:
        return '0 or 1'
    return ' or '.join(_KINDS.get(k, k) for k in kinds)


def _mend(where: str) -> str:
    field = re.sub(r'\[\d+\]$', '', where).rsplit('.', 1)[-1]
    return _MENDS.get(field, 'export or write the file again')


_MENDS = dict(
    id='number images, categories and annotations with whole numbers',
    image_id='give the whole number of an image of the file',
    category_id='give the whole number of a category of the file',
    bbox='write x, y, width and height in pixels',
    height='write the size of the image in pixels',
    width='write the size of the image in pixels',
    images='a COCO or LVIS file has "images", "categories" and "annotations"',
    categories='a COCO or LVIS file has "images", "categories" and '
    '"annotations"')
_MENDS[''] = _MENDS['images']
