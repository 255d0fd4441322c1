"""Files of which the end is missing are refused, wherever they were cut."""
import io
import json
import pickle
import re

import numpy as np
import pytest
import torch
from lvis_data import make_dataset, make_samples, official_results
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from eql_mmdet.annotations.category_counts import (count_annotations,
                                                   format_counts, load_counts)
from eql_mmdet.annotations.reader import parse_annotations, read_annotations
from eql_mmdet.evaluation.predictions import read_predictions
from eql_mmdet.host.checkpoints import load_local_checkpoint
from eql_mmdet.host.safe_pickle import read_pickle
from eql_mmdet.host.saving import find_last_checkpoint
from eql_mmdet.retraining.feature_files import (ROI, Layout, appending, claim,
                                                read)

PLACES = 20


def lvis_set():
    return make_dataset(np.random.default_rng(3), images=4, categories=5)


def lvis_file():
    return json.dumps(lvis_set()).encode()


def coco_file():
    """The same without what only LVIS has, in lines."""
    dataset = lvis_set()
    for category in dataset['categories']:
        del category['frequency'], category['image_count']
    for image in dataset['images']:
        del image['neg_category_ids'], image['not_exhaustive_category_ids']
    return json.dumps(dataset, indent=1).encode()


def checkpoint(**options):
    history = HistoryBuffer([1.5, 0.5], [1, 1])
    content = dict(
        meta=dict(epoch=1, seed=np.int64(3)),
        state_dict=torch.nn.Linear(3, 2).state_dict(),
        message_hub=dict(log_scalars={'train/loss': history}))
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def old_checkpoint():
    return checkpoint(_use_new_zipfile_serialization=False)


def samples_of(dataset):
    samples = make_samples(np.random.default_rng(4), dataset, most=3)
    for sample in samples:
        del sample['pred_instances']['masks']
    return samples


def saved_predictions():
    return pickle.dumps(samples_of(lvis_set()))


def result_file():
    dataset = lvis_set()
    items = official_results(samples_of(dataset), dataset, 'bbox')
    return json.dumps(items).encode()


def counts_file():
    annotations = parse_annotations(lvis_file(), 'lvis.json')
    return format_counts(count_annotations(annotations)).encode()


def model_zoo_file():
    return pickle.dumps(dict(model=dict(a=np.ones(5), b=np.eye(2))), 2)


def predictions(path):
    return read_predictions(path, None)


#: Name of a file -> what makes its content, and what reads it.
FILES = {
    'lvis.json': (lvis_file, read_annotations),
    'coco.json': (coco_file, read_annotations),
    'new.pth': (checkpoint, load_local_checkpoint),
    'old.pth': (old_checkpoint, load_local_checkpoint),
    'host.pth': (checkpoint, CheckpointLoader.load_checkpoint),
    'predictions.pkl': (saved_predictions, predictions),
    'detections.json': (result_file, predictions),
    'model_zoo.pkl': (model_zoo_file, read_pickle),
    'counts.csv': (counts_file, load_counts),
}
EVERY_FILE = pytest.mark.parametrize('name', FILES)


def places(data, number=PLACES):
    """Spread cuts over a file: from nothing of it to all but a byte."""
    return np.unique(np.linspace(0, len(data) - 1, number).astype(int))


def assert_refused(path, data, reader):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        reader(str(path))


@EVERY_FILE
def test_the_whole_file_is_read(name, tmp_path, monkeypatch):
    content, reader = FILES[name]
    monkeypatch.setattr('eql_mmdet.evaluation.predictions.read_sample',
                        lambda sample, index: sample)
    monkeypatch.setattr('eql_mmdet.evaluation.predictions._from_items',
                        lambda image, items, index: items)
    (tmp_path / name).write_bytes(content())
    assert reader(str(tmp_path / name))


@pytest.mark.parametrize('place', range(PLACES))
@EVERY_FILE
def test_a_file_that_was_cut_off_is_refused_by_name(name, place, tmp_path):
    content, reader = FILES[name]
    data = content()
    assert_refused(tmp_path / name, data[:places(data)[place]], reader)


@pytest.mark.slow
@EVERY_FILE
def test_a_cut_at_any_byte_is_refused(name, tmp_path):
    content, reader = FILES[name]
    data = content()
    for cut in range(len(data)):
        assert_refused(tmp_path / name, data[:cut], reader)


def test_a_table_that_does_not_say_its_length_lacks_categories(tmp_path):
    """As they were written before, and by hand."""
    path, data = tmp_path / 'counts.csv', counts_file().decode()
    data = re.sub('# num_categories.*\n', '', data)
    names = parse_annotations(lvis_file(), 'lvis.json').names
    lines = data.splitlines(keepends=True)
    assert len(load_counts(write_text(path, data), names).names) == len(names)
    for number in range(3, len(lines)):
        write_text(path, ''.join(lines[:number]))
        with pytest.raises(ValueError, match=f'not among .*{path}'):
            load_counts(path, names)


def write_text(path, text):
    path.write_text(text)
    return path


LAYOUT = dict(
    num_images=3, rois_per_image=4, shape=(2, 2, 2), dtype=np.dtype('f4'))
SETTINGS = dict(checkpoint='epoch_12.pth', half=False)


@pytest.fixture
def features(tmp_path):
    """Features of three images; the last has RoIs, so no end is empty."""
    layout = Layout(tmp_path / 'features', **LAYOUT)
    claim(layout.folder, SETTINGS)
    with appending(layout) as writer:
        for count in (2, 0, 3):
            rois = np.zeros(count, ROI)
            writer.add(np.ones((count, 2, 2, 2), 'f4'), rois)
    assert len(read(layout).rois) == 5
    return layout


@pytest.mark.parametrize('place', range(PLACES))
@pytest.mark.parametrize('name', ['features.bin', 'rois.bin', 'counts.bin'])
def test_features_that_were_cut_off_are_refused(features, name, place):
    path = features.folder / name
    data = path.read_bytes()
    path.write_bytes(data[:places(data)[place]])
    with pytest.raises(ValueError, match=re.escape(str(features.folder))):
        read(features)


@pytest.mark.parametrize('place', range(PLACES))
def test_settings_of_features_that_were_cut_off_are_refused(features, place):
    path = features.folder / 'settings.json'
    data = path.read_bytes()
    assert_refused(path, data[:places(data)[place]],
                   lambda _: claim(features.folder, SETTINGS))


@pytest.mark.parametrize('place', range(PLACES))
@pytest.mark.parametrize('prefix', ['', 'work_dirs/run/'])
def test_a_note_that_was_cut_off_still_leads_to_the_last_checkpoint(
        tmp_path, monkeypatch, prefix, place):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'work_dirs/run'
    folder.mkdir(parents=True)
    for epoch in (1, 2, 12):
        (folder / f'epoch_{epoch}.pth').touch()
    note = f'{prefix or f"{folder}/"}epoch_12.pth'.encode()
    cut = note[:places(note, min(len(note), PLACES))[place]]
    (folder / 'last_checkpoint').write_bytes(cut)
    found = find_last_checkpoint(str(folder))
    assert found == str(folder / 'epoch_12.pth')
