"""What a user reads of a data set before training, and the exit status."""
import json

import pytest
from PIL import Image
from user_files import HEIGHT, RLE, WIDTH, coco_file, lvis_file


@pytest.fixture
def check(load_tool, capsys):
    """Run the tool; return its status and what it printed."""
    tool = load_tool('check_data')

    def run(*args):
        status = tool.main(list(map(str, args)))
        return status, capsys.readouterr().out

    return run


def write(folder, content, name='ann'):
    path = folder / f'{name}.json'
    path.write_text(json.dumps(content))
    return path


def edit_all(content, **fields):
    for item in content['annotations']:
        item.update(fields)


def odd_head(content):
    content.update(info=dict(year='2024'), licenses=None)


def long_ids(content):
    for items, key in (('images', 'id'), ('annotations', 'image_id')):
        for item in content[items]:
            item[key] += 1700000000000000000


def lose_images(content):
    del content['images'][1]


def use_rle(content):
    edit_all(content, segmentation=RLE)


def lose_a_mask(content):
    content['annotations'][0]['segmentation'] = []


def draw_a_line(content):
    content['annotations'][0]['segmentation'] = [[1, 2, 3, 4]]


def lose_an_area(content):
    del content['annotations'][0]['area']


def lose_an_area_only(content):
    content['annotations'][0]['area'] = 0


def add_a_category(content):
    content['categories'].insert(
        0, dict(id=0, name='shapes', frequency='r', image_count=0))


def lose_annotations(content):
    del content['annotations']


def be_half_of_lvis(content):
    for image in content['images']:
        del image['neg_category_ids']


def leave_the_image(content):
    content['annotations'][0]['bbox'][0] = -5


def lie_outside(content):
    content['annotations'][0]['bbox'][0] = 500


@pytest.mark.parametrize('edit, words', [
    (odd_head, []),
    (long_ids, []),
    (lose_images, ['3 of 6 annotations belong to images that are not listed']),
    (use_rle, ['6 masks are RLE']),
    (lose_a_mask, ['with masks: 1 of 6 annotations are without a mask']),
    (draw_a_line, ['with masks: 1 of 6 annotations are without a mask']),
    (lose_an_area, []),
    (lose_an_area_only, ['1 of 6 annotations are without area']),
    (add_a_category, ['1 of 4 categories have no annotation: "shapes"']),
    (be_half_of_lvis, [r'but LVISEvalMetric does not take the file']),
    (leave_the_image, ['1 of 6 annotations reach more than a pixel out of']),
    (lie_outside, ['1 of 6 annotations are outside their image']),
])
def test_what_goes_on_is_said_once(tmp_path, check, edit, words):
    content = lvis_file()
    edit(content)
    status, shown = check(write(tmp_path, content))
    assert status == 0 and 'nothing is refused' in shown
    lines = [line for line in shown.splitlines() if line.startswith('- ')]
    assert sum('images or fewer' in line for line in lines) == 1
    lines = [line for line in lines if 'images or fewer' not in line]
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines))


def test_a_test_set_is_no_fault(tmp_path, check):
    content = lvis_file()
    lose_annotations(content)
    status, shown = check(write(tmp_path, content))
    assert status == 0 and 'a test set' in shown


def shrink(content):
    for item in content['annotations']:
        x, y, w, h = item['bbox']
        item['bbox'] = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]


def brush(content):
    edit_all(content, iscrowd=1, segmentation=RLE)


def merge(content):
    content['categories'].append(dict(id=2, name='bar again'))


def damage(content):
    edit_all(content, segmentation=dict(RLE, counts=[5]))


@pytest.mark.parametrize('edit, words', [
    (shrink, '6 of 6 annotations are smaller than 1 pixel'),
    (brush, '6 of 6 annotations are marked iscrowd=1'),
    (merge, 'the id 2 stands twice'),
    (damage, '6 of 6 masks are damaged'),
    (lambda content: content['images'].clear(), '"images" is empty'),
    (lambda content: content['annotations'][4].update(bbox=None),
     'annotations[4].bbox must be a list, but is null'),
])
def test_what_stops_a_run_gives_status_1(tmp_path, check, edit, words):
    content = coco_file((1, 2))
    edit(content)
    status, shown = check(write(tmp_path, content))
    assert status == 1 and words in shown
    assert '1 refused: this cannot be used as it is' in shown


@pytest.mark.parametrize('edit, more', [(merge, True), (shrink, False)])
def test_it_says_if_there_may_be_more_faults(tmp_path, check, edit, more):
    content = coco_file((1, 2))
    edit(content)
    _, shown = check(write(tmp_path, content))
    assert ('no further than its first fault' in shown) == more


def test_several_refusals_come_in_one_run(tmp_path, check):
    content = coco_file((1, 2))
    damage(content)
    train = coco_file((1, 2))
    train['categories'][1]['name'] = 'barr'
    status, shown = check(
        write(tmp_path, content), '--images', tmp_path / 'none', '--train',
        write(tmp_path, train, 'train'))
    assert status == 1
    for words in ('masks are damaged', '2 of 2 images are not in',
                  'lacks: bar;', 'lacks: barr;', '4 refused'):
        assert words in shown


def test_the_order_of_the_training_set_is_no_fault(tmp_path, check):
    train = lvis_file()
    train['categories'].reverse()
    status, shown = check(
        write(tmp_path, lvis_file()), '--train', write(tmp_path, train,
                                                       'train'))
    assert status == 0 and 'stand in another order' in shown


@pytest.fixture
def pictures(tmp_path):
    for name in ('1.png', '2.png'):
        Image.new('RGB', (WIDTH, HEIGHT)).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize('spoil, words', [
    (lambda path: path.unlink(), '1 of 2 images are not in'),
    (lambda path: path.write_text('no picture'), '2.png cannot be read'),
    (lambda path: path.write_bytes(path.read_bytes()[:20]),
     '2.png cannot be read'),
    (lambda path: Image.new('L', (HEIGHT, WIDTH)).save(path),
     '2.png is 80 x 100, not 100 x 80'),
    (lambda path: Image.new('1', (20000, 20000)).save(path),
     '2.png cannot be read'),
], ids=['missing', 'text', 'cut', 'turned', 'huge'])  # yapf: disable
def test_images_are_held_to_the_file(pictures, check, spoil, words):
    ann = write(pictures, lvis_file())
    assert check(ann, '--images', pictures)[0] == 0
    spoil(pictures / '2.png')
    status, shown = check(ann, '--images', pictures)
    assert status == 1 and words in shown


def test_an_image_may_have_a_whole_path(pictures, check):
    content = lvis_file()
    for image in content['images']:
        image['file_name'] = str(pictures / image['file_name'])
    ann = write(pictures, content)
    assert check(ann, '--images', pictures)[0] == 0


@pytest.mark.parametrize('split', ['train', 'val'])
def test_the_synthetic_set_has_no_fault(tiny_root, check, split):
    folder = tiny_root / 'data/tiny_lvis'
    status, shown = check(folder / f'annotations/tiny_lvis_{split}.json',
                          '--images', folder / split, '--train',
                          folder / 'annotations/tiny_lvis_train.json')
    assert status == 0
    assert 'LVIS format (LVISEvalMetric)' in shown
    assert '60 categories' in shown


def test_a_file_that_is_not_there_is_one_line(tmp_path, check):
    status, shown = check(tmp_path / 'none.json')
    assert status == 1 and 'cannot read the annotation file' in shown
