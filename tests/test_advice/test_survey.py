"""Where the images of a file are, and what else is found out."""
import json
from pathlib import Path

import pytest
from PIL import Image

from eql_mmdet.advice.survey import find_images, survey
from eql_mmdet.annotations.reader import read_annotations


def write(path, names, **image):
    """An annotation file of these images, which are not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            dict(
                images=[
                    dict(id=i, file_name=name, height=9, width=9, **image)
                    for i, name in enumerate(names)
                ],
                categories=[dict(id=1, name='disc')],
                annotations=[
                    dict(id=1, image_id=0, category_id=1, bbox=[1, 1, 5, 5])
                ])))
    return path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (9, 9)).save(folder / name)


def find(path, given=None):
    return find_images(read_annotations(str(path)), given)


@pytest.mark.parametrize(
    'ann, folder, name', [
        ('annotations/instances_default.json', 'images', '1.png'),
        ('train/_annotations.coco.json', 'train', '1.png'),
        ('result.json', '', 'images/1.png'),
        ('annotations/instances_train2017.json', 'train2017', '1.png'),
        ('all.json', '', '1.png'),
    ],
    ids=['CVAT', 'Roboflow', 'Label Studio', 'COCO', 'beside'])
def test_images_of_exports_are_found(tmp_path, ann, folder, name):
    path = write(tmp_path / ann, [name])
    touch(tmp_path / folder, name)
    assert Path(find(path)) == tmp_path / folder


def test_the_folder_named_as_the_file_is_meant(tmp_path):
    """Both splits number their images from 1."""
    for split in ('train', 'val', 'train2017'):
        touch(tmp_path / split, '1.png')
    for split in ('train', 'val', 'train2017'):
        path = write(tmp_path / f'annotations/{split}.json', ['1.png'])
        assert Path(find(path)).name == split


def test_a_choice_between_two_folders_is_not_made(tmp_path):
    for split in ('a', 'b'):
        touch(tmp_path / split, '1.png')
    path = write(tmp_path / 'annotations/data.json', ['1.png'])
    with pytest.raises(ValueError, match='in each of .*/a" or .*/b"; say'):
        find(path)
    assert Path(find(path, str(tmp_path / 'b'))) == tmp_path / 'b'


def test_images_that_are_missing_in_part_are_told(tmp_path):
    touch(tmp_path / 'images', '1.png')
    path = write(tmp_path / 'data.json', ['1.png', '2.png'])
    with pytest.raises(ValueError, match='1 of the 2 images .*"2.png"'):
        find(path)


def test_images_that_are_nowhere_are_asked_for(tmp_path):
    path = write(tmp_path / 'data.json', ['1.png'])
    with pytest.raises(ValueError, match='first: "1.png".*--images DIR'):
        find(path)


def test_images_without_names_are_refused(tmp_path):
    path = write(tmp_path / 'data.json', [None])
    with pytest.raises(ValueError, match='images without "file_name"'):
        find(path)


def test_sets_beside_the_own_one_are_left_alone(tmp_path):
    touch(tmp_path / 'other', '1.png')
    path = write(tmp_path / 'mine/data.json', ['1.png'])
    with pytest.raises(ValueError, match='are not there; say'):
        find(path)


def test_a_file_that_a_training_would_refuse_is_refused(tmp_path):
    touch(tmp_path / 'images', '1.png')
    train = write(tmp_path / 'train.json', ['1.png'])
    val = write(tmp_path / 'val.json', ['1.png'])
    content = json.loads(train.read_text())
    content['annotations'][0]['bbox'] = [0.1, 0.1, 0.5, 0.5]
    train.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='none of its 1 objects is left'):
        survey(str(train), str(val))


def test_a_test_set_is_refused(tmp_path):
    touch(tmp_path / 'images', '1.png')
    train = write(tmp_path / 'train.json', ['1.png'])
    content = json.loads(train.read_text())
    del content['annotations']
    (tmp_path / 'val.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='it is a test set'):
        survey(str(train), str(tmp_path / 'val.json'))


def test_an_object_without_a_mask_is_named(tmp_path):
    touch(tmp_path / 'images', '1.png')
    path = write(tmp_path / 'train.json', ['1.png'])
    found = survey(str(path), str(path))
    assert found.maskless.endswith('annotations[0] (id 1) has no mask')
    assert not found.train.is_lvis
    assert found.counts.image_count.tolist() == [1]


@pytest.mark.parametrize(
    'edit', [
        lambda content: content['categories'][0].update(frequency='r'),
        lambda content: content['images'][0].update(neg_category_ids=[])
    ],
    ids=['frequency alone', 'negative sets alone'])
def test_half_an_lvis_file_is_refused_before_a_training(tmp_path, edit):
    """The page would refuse it afterwards."""
    touch(tmp_path / 'images', '1.png')
    path = write(tmp_path / 'train.json', ['1.png'])
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='some fields of LVIS and lacks'):
        survey(str(path), str(path))
