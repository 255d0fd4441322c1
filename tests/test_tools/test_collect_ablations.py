"""collect_ablations.py on folders that the host's runner has written."""
import csv
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch.utils.data import Dataset


@MODELS.register_module()
class TableTestModel(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode):
        return dict(loss=self.weight.sum()) if mode == 'loss' else inputs


@DATASETS.register_module()
class TableTestDataset(Dataset):

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.zeros(1))


@METRICS.register_module()
class TableTestMetric(BaseMetric):
    """APs as LVISEvalMetric names them; the first is given."""

    default_prefix = 'lvis'

    def __init__(self, ap):
        super().__init__()
        self.ap = ap

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(
            segm_AP=self.ap,
            segm_AP50=1.,
            segm_APr=-1.,
            segm_APc=0.1,
            segm_APf=0.3)


EPOCHS = dict(by_epoch=True, max_epochs=2, val_interval=1)
ITERS = dict(by_epoch=False, max_iters=4, val_interval=2)


def make_runner(root, name, seed, ap, loop=EPOCHS, **changes):
    """A runner of a config file, as tools/train.py makes it."""
    loader = dict(
        batch_size=1,
        num_workers=0,
        dataset=dict(type='TableTestDataset'),
        sampler=dict(type='DefaultSampler', shuffle=False))
    by_epoch = loop['by_epoch']
    file = root / f'{name}.py'
    file.touch()
    cfg = Config(
        dict(
            default_scope='mmengine',
            model=dict(type='TableTestModel'),
            train_dataloader=loader,
            val_dataloader=loader,
            test_dataloader=loader,
            train_cfg=dict(loop),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=dict(type='TableTestMetric', ap=ap),
            test_evaluator=dict(type='TableTestMetric', ap=ap),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(
                    type='CheckpointHook', interval=1, by_epoch=by_epoch)),
            log_processor=dict(by_epoch=by_epoch),
            randomness=dict(seed=seed),
            # The host keeps loggers and visualisers by this name.
            experiment_name=f'{root.name}_{name}_{seed}_{ap}',
            work_dir=str(root / f'{name}_{seed}')),
        filename=file)
    cfg.merge_from_dict(changes)
    return Runner.from_cfg(cfg)


def train_long_ago(root):
    """Train without validation; later runs get a folder of another second."""
    none = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
    make_runner(root, 'eql', 3, 0.2, **none).train()
    part, = (root / 'eql_3').glob('*/vis_data')
    part.parent.rename(root / 'eql_3/20000101_000000')


@pytest.fixture
def collect(load_tool, tmp_path):
    """Run the tool; return what it wrote."""

    def run(*work_dirs, out=tmp_path / 'table'):
        load_tool('collect_ablations').main(
            [*map(str, work_dirs), '--out',
             str(out)])
        rows = csv.DictReader((tmp_path / 'table.csv').open())
        return (tmp_path / 'table.md').read_text(), list(rows)

    return run


@pytest.mark.parametrize('loop', [EPOCHS, ITERS], ids=['epochs', 'iters'])
def test_runs_become_a_table(tmp_path, collect, loop):
    for name, seed, ap in [('eql', 0, 0.2), ('eql', 1, 0.3), ('base', 5, .1)]:
        make_runner(tmp_path, name, seed, ap, loop).train()
    markdown, rows = collect(*tmp_path.glob('*_[0-9]'))
    by_seed = {(row['config'], row['seed']): row for row in rows}
    assert len(by_seed) == 3 + 4
    assert by_seed['eql', '1']['segm_AP'] == '0.3'
    assert float(by_seed['eql', 'mean']['segm_AP']) == pytest.approx(0.25)
    assert by_seed['base', '5']['segm_APr'] == ''  # -1: no such category
    assert '| eql | 2 | 25.00 ± 7.07 | - | 10.00 ± 0.00 |' in markdown
    assert '| base | 5 | 10.00 | - | 10.00 | 30.00 |' in markdown


def test_a_test_after_training_counts_where_nothing_was_validated(
        tmp_path, collect):
    train_long_ago(tmp_path)
    with pytest.raises(SystemExit, match='eql_3: expected a training to the'):
        collect(tmp_path / 'eql_3')
    # The seed of a test is not that of the training.
    checkpoint = tmp_path / 'eql_3/epoch_2.pth'
    make_runner(
        tmp_path,
        'eql',
        0,
        0.4,
        work_dir=str(tmp_path / 'eql_3'),
        load_from=str(checkpoint)).test()
    _, rows = collect(tmp_path / 'eql_3')
    assert (rows[0]['seed'], rows[0]['segm_AP']) == ('3', '0.4')


def test_a_test_of_an_early_checkpoint_does_not_count(tmp_path, collect):
    train_long_ago(tmp_path)
    make_runner(
        tmp_path, 'eql', 3, 0.4,
        load_from=str(tmp_path / 'eql_3/epoch_1.pth')).test()
    with pytest.raises(SystemExit, match='test it with tools/test.py'):
        collect(tmp_path / 'eql_3')


def test_a_seed_that_was_drawn_is_read_from_the_log(tmp_path, collect):
    runner = make_runner(tmp_path, 'eql', None, 0.2)
    runner.train()
    _, rows = collect(tmp_path / 'eql_None')
    assert rows[0]['seed'] == str(runner.seed)


def test_all_unusable_runs_are_named_and_nothing_is_written(tmp_path, collect):
    make_runner(tmp_path, 'done', 0, 0.2).train()
    make_runner(tmp_path, 'half', 0, 0.2).train()
    (tmp_path / 'half_0/last_checkpoint').write_text('half_0/epoch_1.pth')
    for name, kept in [('killed', 9), ('earlier', 5)]:
        make_runner(tmp_path, name, 0, 0.2).train()
        scalars, = tmp_path.glob(f'{name}_0/*/vis_data/scalars.json')
        # Four steps and an evaluation for each of two epochs.
        lines = scalars.read_text().splitlines(keepends=True)
        assert len(lines) == 10 and 'segm_AP' in lines[4]
        scalars.write_text(''.join(lines[:kept]))
    names = ('done', 'half', 'nowhere', 'killed', 'earlier')
    with pytest.raises(SystemExit) as error:
        collect(*(tmp_path / f'{name}_0' for name in names))
    message = str(error.value)
    assert '\n' not in message
    assert '4 of 5 runs' in message and 'done_0:' not in message
    assert 'nowhere_0: expected the work folder' in message
    assert 'half_0: expected a training to the end' in message
    assert 'epoch_1.pth' in message and 'killed_0: expected' in message
    assert 'earlier_0: expected a training' in message
    assert not list(tmp_path.glob('table*'))


def test_two_seeds_in_one_folder_are_refused(tmp_path, collect):
    work_dir = str(tmp_path / 'eql_0')
    make_runner(tmp_path, 'eql', 0, 0.2).train()
    part, = (tmp_path / 'eql_0').glob('*/vis_data')
    shutil.copytree(part.parent, tmp_path / 'eql_0/20990101_000000')
    config = tmp_path / 'eql_0/20990101_000000/vis_data/config.py'
    config.write_text(config.read_text().replace('seed=0', 'seed=1'))
    with pytest.raises(SystemExit, match='one seed, .* with the seeds 0, 1;'):
        collect(work_dir)


@pytest.mark.parametrize('ending', ['md', 'csv'])
def test_existing_tables_stay(tmp_path, collect, ending):
    (tmp_path / f'table.{ending}').write_text('mine')
    with pytest.raises(SystemExit, match=f'table.{ending}'):
        collect(tmp_path / 'anything')
    assert (tmp_path / f'table.{ending}').read_text() == 'mine'
