"""The configs of docs/data.md for one's own data train and test anywhere."""
import functools
import re
from pathlib import Path

import class_project
import pytest

ROOT = Path(__file__).parents[2]


def five_lines():
    blocks = re.findall(r'```python\n(.*?)```',
                        (ROOT / 'docs/data.md').read_text(), re.S)
    block, = (block for block in blocks if 'coco_format' in block)
    lines = block.strip().splitlines()
    assert len(lines) == 5
    return block


write_split = functools.partial(class_project.write_split, frequencies='')


@pytest.fixture
def project(tmp_path):
    """A user's folder: ``data/custom`` and a config of five lines."""
    custom = tmp_path / 'data/custom'
    write_split(custom, 'train', [[0, 1]] * 5 + [[0, 1, 2]])
    write_split(custom, 'val', [[0, 1, 2]])
    (tmp_path / 'mine.py').write_text(five_lines())
    return tmp_path


@pytest.mark.slow
def test_five_line_config_trains_and_tests(project, run_tool):
    small = [
        '--cfg-options', 'model.backbone.init_cfg=None',
        'train_cfg.max_epochs=1', 'default_hooks.logger.interval=1',
        'train_dataloader.dataset.pipeline.2.scale=(96,96)',
        'val_dataloader.dataset.pipeline.1.scale=(96,96)',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False'
    ]
    output = run_tool('train.py', 'mine.py', *small, cwd=project)
    # dot is in 1 of 13 (image, category) pairs: 7.69 %, the largest tail
    # that is not above the config's tail_ratio of 0.1.
    assert re.search(r'protects 1 of 3 categories .* tail ratio 7.69 %',
                     output)
    assert len(re.findall(r'loss_cls: [\d.]+', output)) == 3
    assert 'coco/segm_mAP:' in output
    checkpoint = project / 'work_dirs/mine/epoch_1.pth'
    output = run_tool('test.py', 'mine.py', checkpoint, *small, cwd=project)
    assert 'coco/segm_mAP:' in output


@pytest.mark.slow
def test_lvis_format_config_trains_and_tests(tmp_path, run_tool):
    sure = dict(neg_category_ids=[], not_exhaustive_category_ids=[])
    for split in ('train', 'val'):
        class_project.write_split(tmp_path / 'data/custom', split,
                                  [(0, 1)] * 5 + [(0, 1, 2)], **sure)
    line, = re.findall(r'^(_base_ = .*_lvis_format\.py.)$',
                       (ROOT / 'docs/data.md').read_text(), re.M)
    (tmp_path / 'mine.py').write_text(line + class_project.SMALL)
    small = [
        '--cfg-options', 'train_dataloader.dataset.pipeline.2.scale=(96,96)',
        'val_dataloader.dataset.pipeline.1.scale=(96,96)'
    ]
    run_tool('train.py', 'mine.py', *small, cwd=tmp_path)
    checkpoint = tmp_path / 'work_dirs/mine/epoch_1.pth'
    output = run_tool('test.py', 'mine.py', checkpoint, *small, cwd=tmp_path)
    assert re.search(r'lvis/segm_APr: [\d.]+', output)
    assert re.search(r'lvis/bbox_APf: [\d.]+', output)
    assert list(tmp_path.rglob('per_category.csv'))


def test_counts_of_the_custom_set_are_written_and_read(project, load_tool,
                                                       monkeypatch, capsys):
    monkeypatch.chdir(project)
    main = load_tool('count_classes').main
    ann, out = 'data/custom/annotations/train.json', 'counts.csv'
    main([ann, '--out', out])
    output = capsys.readouterr().out
    assert '3 categories, 6 images with annotations, 13 instances' in output
    assert re.search(r'0\.0769 +1 +\(1 / 0 / 0\)', output)
    assert (project / out).read_text().splitlines() == [
        '# num_images: 6', '# num_categories: 3',
        'id,name,frequency,image_count,instance_count', '10,disc,r,6,6',
        '20,bar,r,6,6', '30,dot,r,1,1'
    ]
    main([out])
    assert capsys.readouterr().out.splitlines()[1:] == [
        line for line in output.splitlines()[1:-2]
    ]
    with pytest.raises(SystemExit, match='already there'):
        main([ann, '--out', out])
    with pytest.raises(SystemExit, match='end in .csv'):
        main([ann, '--out', 'counts.txt'])
