"""A small synthetic data set in the format, and with the faults, of LVIS.

Coloured, textured shapes on grey walls. What makes LVIS hard is kept: image
counts that fall over orders of magnitude, rare categories that resemble
frequent ones, occlusion, crowds, and federated annotation: most categories
were not looked for in most images.
"""
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Union

import cv2
import numpy as np
import shapely

from .tiny_plan import (Content, choose_content, choose_looks, exhaustive,
                        plan_images)
from .tiny_scene import Look, draw_scene
from .tiny_settings import Settings

__all__ = ['TinyLVIS', 'make_tiny_lvis']

SPLITS = ('train', 'val')
#: What the annotation says, and the end of the name of its file.
PROTOCOLS = dict(federated='', exhaustive='_exhaustive')
UNCHECKED = 0.3  # share of val images with objects that nobody looked for


@dataclass(frozen=True)
class TinyLVIS:
    """What a folder holds.

    Attributes:
        categories: Number of categories by frequency group: r, c, f.
        images: Number of images by split: train, val.
        annotations: Number of annotated objects by split.
        written: False if the folder was complete before.
    """

    categories: Dict[str, int]
    images: Dict[str, int]
    annotations: Dict[str, int]
    written: bool


def make_tiny_lvis(out_dir: Union[str, os.PathLike],
                   *,
                   num_categories: int,
                   num_train: int,
                   num_val: int,
                   seed: int,
                   image_size: int = 128) -> TinyLVIS:
    """Write the data set, or find it written with the same settings.

    The layout is ``annotations/tiny_lvis_{train,val}.json``,
    ``{train,val}/000001.jpg`` and ``tiny_lvis.json``, the settings. These are
    written first and the annotations last: a folder that an interruption left
    is recognised and done again. The same settings give the same bytes with
    the same versions of numpy, OpenCV and GEOS.

    ``annotations/tiny_lvis_{train,val}_exhaustive.json`` say of the same
    images what a set says in which every category is looked for in every
    image: they have all objects that were drawn, and name as absent
    all other categories.

    As in LVIS a category is rare with up to 10 train images, common with up
    to 100, frequent with more; with fewer than 400 train images both bounds
    shrink in proportion. The files' ``info`` states them.

    Args:
        out_dir: Folder to write, or to find complete.
        num_categories: From 12 to 1,230.
        num_train: Images to train on; at least 40, and 2 for 5 categories.
        num_val: Images to evaluate on; at least 10, and 1 for 5 categories.
        seed: Not negative. Another seed gives other images and another choice
            of the rare categories.
        image_size: Height and width in pixels, from 64 to 1,024.

    Returns:
        What the folder holds.

    Raises:
        FileExistsError: If the folder holds another data set, or this one
            with other settings.
        ValueError: If a number is not an integer, or out of its range.
    """
    settings = Settings(num_categories, num_train, num_val, image_size, seed)
    folder = Path(out_dir)
    _claim(folder, settings)
    written = not _is_complete(folder, settings)
    if written:
        _write(folder, settings)
    train, val = (
        json.loads(_annotation_file(folder, split, 'federated').read_text())
        for split in SPLITS)
    groups = [category['frequency'] for category in train['categories']]
    return TinyLVIS(
        categories={group: groups.count(group)
                    for group in 'rcf'},
        images=dict(train=len(train['images']), val=len(val['images'])),
        annotations=dict(
            train=len(train['annotations']), val=len(val['annotations'])),
        written=written)


def _annotation_file(folder: Path, split: str, protocol: str) -> Path:
    name = f'tiny_lvis_{split}{PROTOCOLS[protocol]}.json'
    return folder / 'annotations' / name


def _annotation_files(folder: Path, split: str) -> List[Path]:
    return [_annotation_file(folder, split, name) for name in PROTOCOLS]


def _file_name(image_id: int) -> str:
    return f'{image_id:06d}.jpg'


def _save_json(path: Path, data: dict) -> None:
    """Write all or nothing."""
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(data, separators=(',', ':'), default=int))
    os.replace(partial, path)


def _claim(folder: Path, settings: Settings) -> None:
    """Make sure that the folder is ours, or take it if it is free."""
    path = folder / 'tiny_lvis.json'
    mend = 'delete it or choose another folder'
    if path.exists():
        found = json.loads(path.read_text())
        if found != asdict(settings):
            raise FileExistsError(f'expected a set made with '
                                  f'{asdict(settings)}, but {folder} holds '
                                  f'one made with {found}: {mend}')
        return
    for name in ('annotations', *SPLITS):
        if (folder / name).exists():
            raise FileExistsError(f'expected a free folder, but {folder} '
                                  f'holds "{name}" of another set: {mend}')
    folder.mkdir(parents=True, exist_ok=True)
    _save_json(path, asdict(settings))


def _is_complete(folder: Path, settings: Settings) -> bool:
    return all(
        all(path.exists()
            for path in _annotation_files(folder, split)) and all(
                (folder / split / _file_name(i + 1)).exists()
                for i in range(settings.num_images(split)))
        for split in SPLITS)


def _write(folder: Path, settings: Settings) -> None:
    for split in SPLITS:
        # As long as they are there, the images count as whole.
        for path in _annotation_files(folder, split):
            path.unlink(missing_ok=True)
    looks = choose_looks(settings.num_categories, settings.rng(0))
    names = ['_'.join(look) for look in looks]
    ids = np.argsort(np.argsort(names)) + 1  # alphabetical, as in LVIS
    data = {
        split: _draw_split(folder, split, looks, ids, settings)
        for split in SPLITS
    }
    counted = data['train']['federated']['annotations']
    categories = _describe(names, ids, counted, settings)
    (folder / 'annotations').mkdir(exist_ok=True)
    for split, protocols in data.items():
        for protocol, part in protocols.items():
            _save_json(
                _annotation_file(folder, split, protocol),
                dict(
                    info=_info(split, protocol, settings),
                    licenses=[dict(id=1, name='CC0 1.0', url='')],
                    categories=categories,
                    **part))


def _info(split: str, protocol: str, settings: Settings) -> dict:
    rare, common = settings.group_bounds()
    name = 'Tiny LVIS' + PROTOCOLS[protocol].replace('_', ', ')
    return dict(
        description=f'{name}, {split}. Rare: up to {rare:g} train images; '
        f'common: up to {common:g}; frequent: more.',
        rare_images=rare,
        common_images=common,
        **asdict(settings))


def _draw_split(folder: Path, split: str, looks: Sequence[Look],
                ids: np.ndarray, settings: Settings) -> Dict[str, dict]:
    """Write the images of a split; return what each protocol says of them."""
    (folder / split).mkdir(exist_ok=True)
    key = SPLITS.index(split)
    plan, crowded = plan_images(
        settings.image_counts(split), settings.num_images(split),
        settings.rng(1, key))
    found: Dict[str, dict] = {
        name: dict(images=[], annotations=[])
        for name in PROTOCOLS
    }
    for index, positive in enumerate(plan):
        rng = settings.rng(2, key, index)
        unchecked = split == 'val' and rng.random() < UNCHECKED
        content = choose_content(positive, index in crowded, unchecked,
                                 len(looks), rng)
        picture, objects = draw_scene([looks[c] for c in content.drawn],
                                      settings.image_size, rng)
        _save_picture(folder / split / _file_name(index + 1), picture)
        both = dict(
            federated=content, exhaustive=exhaustive(content, len(looks)))
        for name, said in both.items():
            found[name]['images'].append(
                _image(index + 1, split, said, ids, settings))
            _annotate(found[name]['annotations'], index + 1, said, objects,
                      ids)
    return found


def _annotate(annotations: List[dict], image_id: int, content: Content,
              objects: Sequence[Sequence[shapely.Polygon]],
              ids: np.ndarray) -> None:
    """Append the annotated objects of an image."""
    for category, annotated, parts in zip(content.drawn, content.annotated,
                                          objects):
        if annotated:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=ids[category],
                    **_outline(parts)))


def _save_picture(path: Path, picture: np.ndarray) -> None:
    _, data = cv2.imencode('.jpg', picture[..., ::-1],
                           [cv2.IMWRITE_JPEG_QUALITY, 95])
    path.write_bytes(data.tobytes())


def _image(image_id: int, split: str, content: Content, ids: np.ndarray,
           settings: Settings) -> dict:
    name = _file_name(image_id)
    return dict(
        id=image_id,
        file_name=name,
        # MMDetection's LVISV1Dataset takes the path from here.
        coco_url=f'http://images.cocodataset.org/{split}/{name}',
        flickr_url='',
        date_captured='',
        license=1,
        height=settings.image_size,
        width=settings.image_size,
        neg_category_ids=sorted(ids[content.negative].tolist()),
        not_exhaustive_category_ids=ids[content.not_exhaustive].tolist())


def _outline(parts: Sequence[shapely.Polygon]) -> dict:
    left, top, right, bottom = shapely.total_bounds(parts)
    corners = (shapely.get_coordinates(part)[:-1] for part in parts)
    return dict(
        segmentation=[xy.round(2).ravel().tolist() for xy in corners],
        bbox=np.round([left, top, right - left, bottom - top], 2).tolist(),
        area=round(float(shapely.area(parts).sum()), 2))


def _describe(names: Sequence[str], ids: np.ndarray, train: Sequence[dict],
              settings: Settings) -> List[dict]:
    """Count the train annotations; return the categories, in order of id."""
    instances = Counter(a['category_id'] for a in train)
    pairs = {(a['category_id'], a['image_id']) for a in train}
    images = Counter(category for category, _ in pairs)
    return [
        dict(
            id=id_,
            name=name,
            synonyms=[name],
            synset=f'{name}.n.01',
            frequency=settings.group(images[id_]),
            image_count=images[id_],
            instance_count=instances[id_],
            **{'def': 'a ' + name.replace('_', ' ')})
        for id_, name in sorted(zip(ids, names))
    ]
