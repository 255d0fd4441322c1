"""The synthetic set is a whole, true and reproducible LVIS."""
import json
from collections import Counter, defaultdict

import cv2
import numpy as np
import pytest
from lvis import LVIS
from pycocotools import mask as coco_mask

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.synthetic import tiny_lvis
from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis
from eql_mmdet.synthetic.tiny_plan import image_counts
from eql_mmdet.synthetic.tiny_scene import COLOURS, draw_scene

SETTINGS = dict(num_categories=30, num_train=120, num_val=60, seed=7)
SMALL = dict(num_categories=12, num_train=40, num_val=10, seed=0)


def read(folder, split):
    path = folder / 'annotations' / f'tiny_lvis_{split}.json'
    return json.loads(path.read_text())


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob('*')) if path.is_file()
    }


def categories_of_images(data):
    found = defaultdict(set)
    for annotation in data['annotations']:
        found[annotation['image_id']].add(annotation['category_id'])
    return [found[image['id']] for image in data['images']]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tiny_lvis') / 'set'
    made = make_tiny_lvis(folder, **SETTINGS)
    assert made.written
    return folder


@pytest.fixture(scope='module', params=['train', 'val'])
def split(request):
    return request.param


@pytest.fixture(scope='module')
def data(folder, split):
    return read(folder, split)


def test_the_official_api_reads_the_file(folder, split, data):
    lvis = LVIS(str(folder / f'annotations/tiny_lvis_{split}.json'))
    assert lvis.get_cat_ids() == list(range(1, 31))
    assert len(lvis.get_img_ids()) == len(data['images'])
    for annotation in data['annotations']:
        mask = lvis.ann_to_mask(annotation)
        assert mask.sum() == pytest.approx(annotation['area'], rel=0.2, abs=8)


def test_fields_are_those_of_lvis(data):
    assert set(data['images'][0]) == {
        'id', 'file_name', 'width', 'height', 'coco_url', 'license',
        'flickr_url', 'date_captured', 'neg_category_ids',
        'not_exhaustive_category_ids'
    }
    assert set(data['categories'][0]) == {
        'id', 'name', 'synonyms', 'synset', 'def', 'frequency', 'image_count',
        'instance_count'
    }
    assert set(data['annotations'][0]) == {
        'id', 'image_id', 'category_id', 'bbox', 'area', 'segmentation'
    }
    ids = [annotation['id'] for annotation in data['annotations']]
    assert ids == list(range(1, len(ids) + 1))


def test_both_paths_of_an_image_lead_to_it(folder, split, data):
    for image in data['images']:
        by_name = folder / split / image['file_name']
        by_url = folder / image['coco_url'].replace(
            'http://images.cocodataset.org/', '')
        assert by_name == by_url
        assert cv2.imread(str(by_name)).shape == (128, 128, 3)
    assert len(list((folder / split).iterdir())) == len(data['images'])


def test_image_counts_are_exactly_those_planned(folder):
    data = read(folder, 'train')
    found = Counter(c for cats in categories_of_images(data) for c in cats)
    instances = Counter(a['category_id'] for a in data['annotations'])
    for category in data['categories']:
        assert category['image_count'] == found[category['id']]
        assert category['instance_count'] == instances[category['id']]
    planned = image_counts(30, 120, 1, (0.6, 1.25 * 30 / 120))
    assert sorted(found.values(), reverse=True) == planned.tolist()
    counts = load_counts(folder / 'annotations/tiny_lvis_train.json')
    assert sorted(counts.image_count)[::-1] == planned.tolist()


def test_the_first_category_is_in_most_images_and_the_last_in_one(folder):
    counts = [c['image_count'] for c in read(folder, 'train')['categories']]
    assert max(counts) > 0.4 * 120
    assert min(counts) == 1


def test_ids_are_alphabetical_not_by_frequency(data):
    names = [category['name'] for category in data['categories']]
    counts = [category['image_count'] for category in data['categories']]
    assert names == sorted(names)
    assert abs(np.corrcoef(counts, range(30))[0, 1]) < 0.6


def test_groups_follow_the_scaled_rule_of_lvis(folder, split, data):
    info = data['info']
    assert (info['rare_images'], info['common_images']) == (3, 30)
    for category in data['categories']:
        count = category['image_count']
        assert category['frequency'] == ('r' if count <= 3 else
                                         'c' if count <= 30 else 'f')
    assert data['categories'] == read(folder, 'train')['categories']


def test_what_an_image_says_of_categories_is_consistent(data):
    names = range(1, 31)
    silent = 0
    for image, positive in zip(data['images'], categories_of_images(data)):
        negative = set(image['neg_category_ids'])
        assert not negative & positive
        assert set(image['not_exhaustive_category_ids']) <= positive
        assert negative | positive <= set(names)
        silent += len(set(names) - negative - positive)
    assert silent > 0.3 * 30 * len(data['images'])
    assert any(i['not_exhaustive_category_ids'] for i in data['images'])


def test_the_annotation_says_nothing_false_of_what_is_drawn(
        tmp_path, monkeypatch):
    drawn = []

    def record(looks, *args):
        drawn.append(Counter('_'.join(look) for look in looks))
        return draw_scene(looks, *args)

    monkeypatch.setattr(tiny_lvis, 'draw_scene', record)
    make_tiny_lvis(tmp_path, **SMALL)
    images = [i for s in ('train', 'val') for i in statements(tmp_path, s)]
    assert len(images) == len(drawn)
    unmentioned = 0
    for shown, (annotated, in_part, negative) in zip(drawn, images):
        assert not negative & set(shown)
        for name, number in shown.items():
            if name in in_part:
                assert 0 < annotated[name] < number
            else:
                assert annotated[name] in (0, number)
                unmentioned += annotated[name] == 0
    assert unmentioned > 0
    assert any(in_part for _, in_part, _ in images)


def test_the_exhaustive_files_say_everything(tmp_path, monkeypatch):
    drawn = []

    def record(looks, *args):
        drawn.append(Counter('_'.join(look) for look in looks))
        return draw_scene(looks, *args)

    monkeypatch.setattr(tiny_lvis, 'draw_scene', record)
    make_tiny_lvis(tmp_path, **SMALL)
    images = [
        i for s in ('train', 'val')
        for i in statements(tmp_path, f'{s}_exhaustive')
    ]
    names = {c['name'] for c in read(tmp_path, 'train')['categories']}
    assert len(images) == len(drawn)
    for shown, (annotated, in_part, negative) in zip(drawn, images):
        assert annotated == shown
        assert negative == names - set(shown)
        assert not in_part


def test_both_files_say_the_same_of_the_same_objects(folder, split, data):
    whole = read(folder, f'{split}_exhaustive')
    assert whole['categories'] == data['categories']
    assert [i['file_name'] for i in whole['images']
            ] == [i['file_name'] for i in data['images']]
    objects, fewer = ([{
        k: v
        for k, v in a.items() if k != 'id'
    } for a in found['annotations']] for found in (whole, data))
    assert len(fewer) < len(objects)
    assert all(annotation in objects for annotation in fewer)
    assert [a['id']
            for a in whole['annotations']] == list(range(1, 1 + len(objects)))


def statements(folder, split):
    """Annotated objects, categories in part and negative of every image."""
    data = read(folder, split)
    names = {c['id']: c['name'] for c in data['categories']}
    annotated = defaultdict(Counter)
    for annotation in data['annotations']:
        name = names[annotation['category_id']]
        annotated[annotation['image_id']][name] += 1
    for image in data['images']:
        yield (annotated[image['id']],
               *({names[i]
                  for i in image[key]}
                 for key in ('not_exhaustive_category_ids',
                             'neg_category_ids')))


def test_every_category_is_checked_somewhere_and_nowhere_in_all(data):
    checked = Counter()
    for image, positive in zip(data['images'], categories_of_images(data)):
        checked.update(positive | set(image['neg_category_ids']))
    assert 0 < min(checked[i] for i in range(1, 31))
    assert max(checked.values()) < len(data['images'])


def test_val_has_every_category_more_evenly_than_train(folder):
    ratios = {}
    for split in ('train', 'val'):
        found = Counter(
            c for cats in categories_of_images(read(folder, split))
            for c in cats)
        ratios[split] = max(found.values()) / min(found.values())
    assert len(found) == 30
    assert min(found.values()) >= 3
    assert ratios['val'] < ratios['train'] / 4


def test_there_are_empty_and_crowded_images(data):
    numbers = Counter(a['image_id'] for a in data['annotations'])
    assert min(numbers[image['id']] for image in data['images']) == 0
    assert max(numbers.values()) > 15


def test_boxes_are_tight_around_polygons_inside_the_image(data):
    for annotation in data['annotations']:
        rings = [np.reshape(r, (-1, 2)) for r in annotation['segmentation']]
        assert all(len(ring) >= 3 for ring in rings)
        points = np.concatenate(rings)
        assert 0 <= points.min() and points.max() <= 128
        assert np.array_equal(points, points.round(2))
        corner, size = points.min(axis=0), np.ptp(points, axis=0)
        assert annotation['bbox'] == pytest.approx([*corner, *size], abs=0.006)
        area = sum(polygon_area(ring) for ring in rings)
        assert annotation['area'] == pytest.approx(area, abs=0.01)
        assert annotation['area'] > 12


def polygon_area(ring):
    x, y = ring.T
    return abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2


def test_objects_have_the_colour_of_their_name(folder, split, data):
    names = {c['id']: c['name'].split('_') for c in data['categories']}
    pictures = {
        image['id']: cv2.imread(str(folder / split / image['file_name']))
        for image in data['images']
    }
    for annotation in data['annotations']:
        colour, texture, _ = names[annotation['category_id']]
        if texture != 'plain' or annotation['area'] < 200:
            continue
        mask = coco_mask.decode(
            coco_mask.merge(
                coco_mask.frPyObjects(annotation['segmentation'], 128, 128)))
        seen = np.median(pictures[annotation['image_id']][mask > 0], axis=0)
        distance = {
            name: np.abs(seen[::-1] - tones[0]).sum()
            for name, tones in COLOURS.items()
        }
        assert min(distance, key=distance.get) == colour


def test_ground_truth_as_detections_is_perfect(folder, split, data):
    hotcoco = pytest.importorskip('hotcoco')
    path = str(folder / f'annotations/tiny_lvis_{split}.json')
    detections = [
        dict(
            image_id=a['image_id'],
            category_id=a['category_id'],
            bbox=a['bbox'],
            score=1.0) for a in data['annotations']
    ]
    truth = hotcoco.LVIS(path)
    found = hotcoco.LVISResults(truth, detections)
    evaluation = hotcoco.LVISEval(truth, found, 'bbox')
    evaluation.run()
    results = evaluation.get_results()
    for name in ('AP', 'APr', 'APc', 'APf'):
        assert results[name] == pytest.approx(1)


def test_the_same_settings_give_the_same_bytes(folder, tmp_path):
    make_tiny_lvis(tmp_path / 'again', **SETTINGS)
    assert contents(tmp_path / 'again') == contents(folder)


def test_another_seed_gives_another_set(tmp_path):
    sets = []
    for seed in (0, 1):
        make_tiny_lvis(tmp_path / str(seed), **{**SMALL, 'seed': seed})
        sets.append(contents(tmp_path / str(seed)))
    same = [name for name in sets[0] if sets[0][name] == sets[1][name]]
    assert same == []


def test_a_complete_set_is_left_alone(folder):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob('*')}
    made = make_tiny_lvis(folder, **SETTINGS)
    assert not made.written
    assert made.images == dict(train=120, val=60)
    assert sum(made.categories.values()) == 30
    assert {p: p.stat().st_mtime_ns for p in folder.rglob('*')} == before


@pytest.mark.slow
@pytest.mark.parametrize('lost', [
    'annotations/tiny_lvis_val.json', 'annotations/tiny_lvis_train.json',
    'annotations/tiny_lvis_val_exhaustive.json', 'train/000003.jpg'
])
def test_an_interrupted_set_is_done_again(tmp_path, lost):
    make_tiny_lvis(tmp_path, **SMALL)
    before = contents(tmp_path)
    (tmp_path / lost).unlink()
    assert make_tiny_lvis(tmp_path, **SMALL).written
    assert contents(tmp_path) == before


@pytest.mark.parametrize('lost', [None, 'train/000003.jpg'])
def test_an_interruption_leaves_no_annotations(tmp_path, monkeypatch, lost):

    def interrupt(path, picture):
        path.write_bytes(b'half an imag')
        if path.name == '000005.jpg':
            raise KeyboardInterrupt

    if lost:
        make_tiny_lvis(tmp_path, **SMALL)
        (tmp_path / lost).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(tiny_lvis, '_save_picture', interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_tiny_lvis(tmp_path, **SMALL)
    assert not list(tmp_path.glob('annotations/*'))
    assert make_tiny_lvis(tmp_path, **SMALL).written
    assert cv2.imread(str(tmp_path / 'train/000001.jpg')) is not None


def test_a_set_with_other_settings_is_not_overwritten(tmp_path):
    make_tiny_lvis(tmp_path, **SMALL)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="'seed': 0.*delete it"):
        make_tiny_lvis(tmp_path, **{**SMALL, 'seed': 1})
    assert contents(tmp_path) == before


@pytest.mark.parametrize('name', ['annotations', 'train', 'val'])
def test_the_folder_of_another_set_is_not_touched(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError, match=f'holds "{name}" of another'):
        make_tiny_lvis(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.slow
@pytest.mark.parametrize('settings, groups', [
    (SMALL, 12),
    (dict(num_categories=1230, num_train=492, num_val=246, seed=0), 1230),
])
def test_the_fewest_and_the_most_categories_work(tmp_path, settings, groups):
    made = make_tiny_lvis(tmp_path, image_size=64, **settings)
    assert min(made.categories.values()) > 0
    assert sum(made.categories.values()) == groups
    val = read(tmp_path, 'val')
    assert len({a['category_id'] for a in val['annotations']}) == groups


@pytest.mark.parametrize('num_categories', [12, 13, 60, 137, 500, 1230])
@pytest.mark.parametrize('scale', [1, 1.1, 2, 10, 50])
def test_all_groups_are_present_at_every_size(num_categories, scale):
    few = -(-num_categories // 5)
    settings = tiny_lvis.Settings(
        num_categories,
        num_train=round(scale * max(40, 2 * few)),
        num_val=max(10, few),
        image_size=128,
        seed=0)
    rare, common = settings.group_bounds()
    counts = settings.image_counts('train')
    assert counts.min() <= rare
    assert ((rare < counts) & (counts <= common)).any()
    assert counts.max() > common
    assert settings.image_counts('val').min() >= 1


@pytest.mark.parametrize('name, value, allowed', [
    ('num_categories', 11, '12 to 1230'),
    ('num_categories', 1231, '12 to 1230'),
    ('num_train', 39, '40 to'),
    ('num_val', 9, '10 to'),
    ('image_size', 32, '64 to 1024'),
    ('seed', -1, '0 to'),
    ('num_train', 100.0, '40 to'),
])
def test_a_wrong_number_is_refused(tmp_path, name, value, allowed):
    with pytest.raises(ValueError) as error:
        make_tiny_lvis(tmp_path / 'set', **{**SMALL, name: value})
    assert name in str(error.value)
    assert allowed in str(error.value)
    assert str(value) in str(error.value)
    assert not (tmp_path / 'set').exists()


def test_numpy_integers_are_integers(tmp_path):
    settings = {name: np.int64(value) for name, value in SMALL.items()}
    assert make_tiny_lvis(tmp_path, **settings).written
    assert not make_tiny_lvis(tmp_path, **SMALL).written
