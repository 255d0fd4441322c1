"""LVISFormatDataset: the host's data, with the names of the file."""
import json

from mmdet.datasets import LVISV05Dataset

from eql_mmdet.datasets.lvis_dataset import LVISFormatDataset


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
    assert [ours.get_data_info(i) for i in range(len(ours))
            ] == [host.get_data_info(i) for i in range(len(host))]
