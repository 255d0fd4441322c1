"""The host's data, with the names and the verified sets of the file."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import LVISV1Dataset, LVISV05Dataset

from eql_mmdet.datasets.format_datasets import (COCOFormatDataset,
                                                LVISFormatDataset,
                                                VerifiedLVISV1Dataset,
                                                VerifiedLVISV05Dataset)

sys.path.insert(0, str(Path(__file__).parents[1]))
from lvis_data import make_dataset, write_json  # noqa: E402


def test_names_are_those_of_the_file_and_data_those_of_the_host(tiny_root):
    settings = dict(
        ann_file='annotations/tiny_lvis_train.json',
        data_root=str(tiny_root / 'data/tiny_lvis'),
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True))
    ours, host = LVISFormatDataset(**settings), LVISV05Dataset(**settings)
    categories = json.loads(
        (tiny_root / 'data/tiny_lvis/annotations/tiny_lvis_train.json'
         ).read_text())['categories']
    names = [category['name'] for category in categories]
    assert list(ours.metainfo['classes']) == names
    assert ours.cat_ids == [category['id'] for category in categories]
    assert len(host.metainfo['classes']) == 1230
    assert len(ours) == len(host) > 0
    infos = [ours.get_data_info(i) for i in range(len(ours))]
    assert all(info.pop('verified_labels') for info in infos)
    assert infos == [host.get_data_info(i) for i in range(len(host))]


def load_infos(dataset, path):
    data = dataset(ann_file=path, data_prefix=dict(img=''))
    return [data.get_data_info(i) for i in range(len(data))]


@pytest.fixture
def annotations(tmp_path):
    """An LVIS file with permuted ids, as v0.5 and as v1 name its images."""
    content = make_dataset(np.random.default_rng(0), images=12, categories=8)
    for image in content['images']:
        image['coco_url'] = (
            f'http://images.cocodataset.org/train2017/{image["id"]}.jpg')
    content['images'][3]['neg_category_ids'].append(10**6)  # not in the file
    return content, write_json(tmp_path / 'lvis.json', content)


@pytest.mark.parametrize('ours, host', [
    (VerifiedLVISV05Dataset, LVISV05Dataset),
    (VerifiedLVISV1Dataset, LVISV1Dataset),
    (LVISFormatDataset, LVISV05Dataset),
])
def test_verified_labels_are_the_positive_and_negative_set(
        annotations, ours, host):
    content, path = annotations
    if host is LVISV1Dataset:  # v1 has no file names
        for image in content['images']:
            del image['file_name']
        Path(path).write_text(json.dumps(content))
    ids = [category['id'] for category in content['categories']]
    infos = {info['img_id']: info for info in load_infos(ours, path)}
    for image in content['images']:
        present = {
            a['category_id']
            for a in content['annotations'] if a['image_id'] == image['id']
        }
        known = present | set(image['neg_category_ids'])
        assert infos[image['id']].pop('verified_labels') == [
            label for label, id_ in enumerate(ids) if id_ in known
        ]
    assert list(infos.values()) == load_infos(host, path)


def test_images_without_negative_sets_have_no_verified_labels(
        annotations, tmp_path):
    content, _ = annotations
    content = dict(
        content,
        images=[{
            k: v
            for k, v in image.items() if k != 'neg_category_ids'
        } for image in content['images']])
    path = write_json(tmp_path / 'plain.json', content)
    infos = load_infos(LVISFormatDataset, path)
    assert infos and not any('verified_labels' in info for info in infos)


@pytest.mark.parametrize('dataset, name', [
    (LVISFormatDataset, '000000000009.jpg'),
    (COCOFormatDataset, 'COCO_train2014_000000000009.jpg'),
])
def test_only_lvis_cuts_the_names_of_2014(annotations, tmp_path, dataset,
                                          name):
    content, path = annotations
    content['images'][0]['file_name'] = 'COCO_train2014_000000000009.jpg'
    content['images'][1]['file_name'] = 'COCO_mine.jpg'
    infos = load_infos(dataset, write_json(tmp_path / 'names.json', content))
    assert [info['img_path'] for info in infos[:2]] == [name, 'COCO_mine.jpg']
