"""What a work folder holds of a run."""
import os
import shutil

import pytest
from lvis_data import write_json
from mmengine.config import Config

from eql_mmdet.reports.saved_run import (SavedRun, find_run, missing_test,
                                         stale_note)

CONFIG = '''
train_dataloader = dict(dataset=dict(type='RepeatDataset', times=2,
    dataset=dict(type='LVISFormatDataset', data_root={root!r},
                 ann_file='train.json')))
test_dataloader = dict(dataset=dict(type='LVISFormatDataset',
    data_root={root!r}, ann_file='val.json', data_prefix=dict(img='val/')))
'''


@pytest.fixture
def work_dir(tmp_path):
    """A run with its data set, not yet tested."""
    for name, order in (('train', (2, 1)), ('val', (1, 2))):
        write_json(
            tmp_path / f'{name}.json',
            dict(
                images=[dict(id=1, height=9, width=9, file_name='1.jpg')],
                annotations=[],
                categories=[dict(id=k, name=f'c{k}') for k in order]))
    (tmp_path / 'val').mkdir()
    folder = tmp_path / 'work'
    for time in ('20260101_000000', '20260102_000000'):
        (folder / time / 'vis_data').mkdir(parents=True)
        (folder / time / 'vis_data/config.py').write_text(
            CONFIG.format(root=str(tmp_path)))
    (folder / 'mine.py').touch()
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_3.pth'))
    (folder / '20260101_000000/category_pressure.csv').touch()
    return folder


def find(path):
    return find_run(str(path), Config.fromfile)


@pytest.mark.parametrize('place', ['results.pkl', '20260102_000000/r.pkl'])
@pytest.mark.parametrize('by_file', [False, True])
def test_everything_is_found_from_folder_or_file(work_dir, place, by_file):
    file, root = work_dir / place, work_dir.parent
    file.touch()
    found = find(file if by_file else work_dir)
    assert found.predictions == str(file)
    assert (found.ann, found.train) == (str(root / 'val.json'),
                                        str(root / 'train.json'))
    assert found.images.rstrip('/') == str(root / 'val')
    assert found.classes == ('c2', 'c1')  # labels are those of the training
    assert found.config_name == 'mine.py'
    assert found.config == CONFIG.format(root=str(root))
    assert found.pressure.endswith('0101_000000/category_pressure.csv')


def test_what_is_gone_is_unknown(work_dir):
    (work_dir / 'results.pkl').touch()
    for name in ('train', 'val'):
        (work_dir.parent / f'{name}.json').unlink()
    (work_dir.parent / 'val').rmdir()
    found = find(work_dir)
    assert (found.ann, found.train, found.images,
            found.classes) == (None, ) * 4


def test_the_config_in_the_folder_will_do(work_dir):
    for part in work_dir.glob('*/vis_data'):
        shutil.rmtree(part)
    (work_dir / 'results.pkl').touch()
    text = CONFIG.format(root=str(work_dir.parent))
    (work_dir / 'mine.py').write_text(text)
    assert find(work_dir).config == text


def test_a_script_beside_predictions_is_not_run(tmp_path):
    (tmp_path / 'results.pkl').touch()
    (tmp_path / 'script.py').write_text('raise RuntimeError')
    assert find(tmp_path) == SavedRun(str(tmp_path / 'results.pkl'))


def test_predictions_alone_are_a_run(tmp_path):
    path = tmp_path / 'results.json'
    path.touch()
    assert find(path) == SavedRun(str(path))


def test_a_run_without_predictions_is_told_the_command(work_dir):
    with pytest.raises(ValueError) as error:
        find(work_dir)
    assert (f'"tools/test.py {work_dir}/mine.py {work_dir}/epoch_3.pth --out '
            f'{work_dir}/predictions.pkl" makes them') in str(error.value)


def test_a_training_without_predictions_can_be_tested(tmp_path):
    assert missing_test(str(tmp_path)) is None
    (tmp_path / 'mine.py').write_text('')
    (tmp_path / 'last_checkpoint').write_text('elsewhere/epoch_2.pth')
    assert missing_test(str(tmp_path)) is None  # no checkpoint
    (tmp_path / 'epoch_2.pth').write_bytes(b'')  # the folder was moved
    assert missing_test(str(tmp_path)) == [
        str(tmp_path / 'mine.py'),
        str(tmp_path / 'epoch_2.pth'), '--work-dir',
        str(tmp_path), '--out',
        str(tmp_path / 'predictions.pkl')
    ]
    (tmp_path / 'predictions.pkl').write_bytes(b'')
    assert missing_test(str(tmp_path)) is None


def test_predictions_of_an_older_checkpoint_are_told(tmp_path):
    run = SavedRun(str(tmp_path / 'predictions.pkl'))
    (tmp_path / 'predictions.pkl').write_bytes(b'')
    assert stale_note(run) == []  # no training is known
    (tmp_path / 'last_checkpoint').write_text('elsewhere/epoch_2.pth')
    (tmp_path / 'epoch_2.pth').write_bytes(b'')
    os.utime(tmp_path / 'epoch_2.pth', (100, 100))
    assert stale_note(run) == []
    os.utime(tmp_path / 'predictions.pkl', (99, 99))
    text, = stale_note(run)
    assert 'is older than' in text and 'epoch_2.pth: remove it' in text


def test_several_predictions_are_named(work_dir):
    for name in 'ab':
        (work_dir / f'{name}.pkl').touch()
    with pytest.raises(ValueError, match='one file .*a.pkl, .*b.pkl; name'):
        find(work_dir)


@pytest.mark.parametrize('name, words', [('gone', 'there is no'),
                                         ('x.pth', 'a .pkl, .pickle or')])
def test_what_is_no_run_is_refused(tmp_path, name, words):
    (tmp_path / 'x.pth').touch()
    with pytest.raises(ValueError, match=words):
        find(tmp_path / name)
