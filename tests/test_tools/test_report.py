"""tools/report.py: from a work folder or saved predictions to the page."""
import json
import re

import pytest
from saved_runs import write_run

from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
from eql_mmdet.host.safe_pickle import load_samples


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    write_run(folder)
    return folder


@pytest.fixture
def report(load_tool):

    def report(*args):
        load_tool('report').main(
            [*map(str, args), '--samples', '5', '--pictures', '1'])

    return report


def test_a_work_folder_becomes_a_page_with_the_metrics(folder, report,
                                                       tmp_path):
    out = tmp_path / 'new/page.html'
    report(folder / 'a', '--out', out, '--baseline', folder / 'b')
    text = out.read_text()
    metric = LVISEvalMetric(str(folder / 'ann.json'), ['bbox', 'segm'])
    metric.process({}, load_samples(str(folder / 'a/predictions.pkl')))
    values = metric.evaluate(20)
    for kind in ('bbox', 'segm'):
        cells = (f'<th>all</th><td>{100 * values[f"lvis/{kind}_AP"]:.1f}</td>')
        assert cells in text
    assert text.count('data:image/jpeg;base64,') == 4
    assert 'Differences from the baseline' in text
    assert 'data_prefix=dict' in text  # the config


def test_the_page_needs_no_network_and_stays_beside_the_run(folder, report):
    page = folder / 'a/report.html'
    report(folder / 'a', '--metric', 'bbox')
    text = page.read_text()
    page.unlink()
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert set(re.findall(r'https?://[\w./]+', text)) <= {
        'http://www.w3.org/2000/svg', 'http://www.w3.org/1999/xlink'
    }


def test_predictions_need_an_annotation_file(folder, report, tmp_path):
    alone = tmp_path / 'alone.pkl'
    alone.write_bytes((folder / 'a/predictions.pkl').read_bytes())
    with pytest.raises(SystemExit, match='^report: expected the annotation'):
        report(alone)
    report(alone, folder / 'ann.json', '--metric', 'bbox')
    text = (tmp_path / 'report.html').read_text()
    assert 'give the folder of the images' in text


def test_a_file_in_coco_format_will_do(folder, report, tmp_path):
    dataset = json.loads((folder / 'ann.json').read_text())
    for image in dataset['images']:
        del image['neg_category_ids'], image['not_exhaustive_category_ids']
    for category in dataset['categories']:
        del category['frequency'], category['image_count']
    ann, out = tmp_path / 'coco.json', tmp_path / 'page.html'
    ann.write_text(json.dumps(dataset))
    report(folder / 'a/predictions.pkl', ann, '--out', out)
    text = out.read_text()
    assert 'is in COCO format: every category counts in every image' in text
    assert 'coco.json itself, since no training set is known' in text
    # 20 images: no category is in more than 100.
    assert re.search(r'<th>frequent</th><td>–', text)


def test_training_images_come_from_the_training_set(folder, report, tmp_path):
    counts = tmp_path / 'train.json'
    dataset = json.loads((folder / 'ann.json').read_text())
    first = dataset['categories'][0]
    dataset['annotations'] = [
        a for a in dataset['annotations'] if a['category_id'] == first['id']
    ]
    counts.write_text(json.dumps(dataset))
    out = tmp_path / 'page.html'
    report(folder / 'a', '--train', counts, '--out', out)
    data = json.loads(
        re.search(r'id="data">(.*?)</script>', out.read_text(), re.S)[1])
    place = [key for key, *_ in data['columns']].index('image_count')
    images = {row[0]: row[place] for row in data['rows']}
    assert images.pop(first['name']) == len(
        {a['image_id']
         for a in dataset['annotations']})
    assert set(images.values()) == {0}


@pytest.mark.parametrize('args, words', [
    (['--score-thr', '2'], r'in \[0, 1\] .* got 2.0'),
    (['--images', 'nowhere', '--train', 'lvis_v1'], 'categories of'),
])
def test_wrong_settings_are_refused_in_one_line(folder, report, args, words,
                                                tmp_path):
    out = tmp_path / 'page.html'
    with pytest.raises(SystemExit, match=f'^report: .*{words}'):
        report(folder / 'a', '--out', out, *args)
    assert not out.exists()


def test_images_that_are_not_there_are_told(folder, report, tmp_path):
    out = tmp_path / 'page.html'
    report(folder / 'a', '--images', tmp_path / 'gone', '--out', out)
    assert '2 of 2 images to be shown are not in' in out.read_text()


def test_a_page_is_not_overwritten(folder, report, tmp_path):
    out = tmp_path / 'page.html'
    out.write_text('mine')
    with pytest.raises(SystemExit, match='page.html" is already there'):
        report(folder / 'a', '--out', out)
    assert out.read_text() == 'mine'
