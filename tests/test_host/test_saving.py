"""Checkpoints are whole or not there, and the last one is always found."""
import os
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from eql_mmdet.host import saving


class Killed(BaseException):
    """Stands for the end of a process."""


class Cut:
    """A file whose process ends after some bytes."""

    def __init__(self, file, size):
        self.file, self.size = file, size

    def write(self, data):
        self.file.write(data[:self.size])
        raise Killed


class Toy(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=(self.weight - 1).square().sum())


def train(work_dir, epochs, resume=False, **checkpoint):
    runner = Runner(
        Toy(),
        work_dir=str(work_dir),
        train_dataloader=DataLoader([dict(inputs=0.)] * 2),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, **checkpoint)),
        resume=resume,
        log_level='ERROR',
        experiment_name=f'{work_dir.name}_{epochs}_{resume}_{os.urandom(4)}')
    runner.train()
    return runner


def files_of(folder):
    return sorted(p.name for p in folder.glob('*.pth'))


@pytest.fixture
def killed_after(monkeypatch):
    """Let writing stop after some bytes, in any file of that name."""

    def kill(name, size):
        whole_file = saving.whole_file

        @contextmanager
        def cut_file(path, mode):
            with whole_file(path, mode) as file:
                yield Cut(file, size) if name in Path(path).name else file

        monkeypatch.setattr(saving, 'whole_file', cut_file)

    return kill


@pytest.mark.parametrize('size', [0, 1, 1000])
@pytest.mark.parametrize('keep', [-1, 1, 2])
def test_killed_while_saving_the_last_whole_one_is_resumed(
        tmp_path, killed_after, monkeypatch, keep, size):
    killed_after('epoch_3', size)
    with pytest.raises(Killed):
        train(tmp_path, 5, max_keep_ckpts=keep)
    assert 'epoch_2.pth' in files_of(tmp_path)
    assert 'epoch_3.pth' not in files_of(tmp_path)
    monkeypatch.undo()
    runner = train(tmp_path, 5, resume=True, max_keep_ckpts=keep)
    whole = train(tmp_path.with_name('whole'), 5)
    assert runner.iter == whole.iter == 10
    assert torch.equal(runner.model.weight, whole.model.weight)
    last = ['epoch_5.pth'] if keep == 1 else ['epoch_4.pth', 'epoch_5.pth']
    assert set(last) <= set(files_of(tmp_path))
    assert not list(tmp_path.glob('.*.part'))


def test_as_many_are_kept_as_the_config_says(tmp_path):
    train(tmp_path, 5, max_keep_ckpts=2)
    assert files_of(tmp_path) == ['epoch_4.pth', 'epoch_5.pth']


def test_nothing_is_removed_before_the_next_one_is_written(
        tmp_path, monkeypatch):
    seen = []
    host_save = Runner.save_checkpoint

    def save(self, *args, **kwargs):
        seen.append(files_of(tmp_path))
        host_save(self, *args, **kwargs)

    monkeypatch.setattr(Runner, 'save_checkpoint', save)
    train(tmp_path, 3, max_keep_ckpts=1)
    assert seen == [[], ['epoch_1.pth'], ['epoch_2.pth']]
    assert files_of(tmp_path) == ['epoch_3.pth']


def test_the_best_one_is_not_removed_under_its_own_name(tmp_path):
    hook = CheckpointHook(save_best='score', rule='greater')
    runner = train(tmp_path, 1)
    hook.before_train(runner)
    for score in (0.1, 0.2):  # a resumed run reaches the same epoch again
        hook._save_best_checkpoint(runner, dict(score=score))
    assert Path(hook.best_ckpt_path).is_file()


@pytest.mark.parametrize('note', ['', 'work', 'work/epoch_9.pth'])
def test_a_name_that_leads_nowhere_is_mended_from_the_folder(tmp_path, note):
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_epoch_11.pth',
                 '.epoch_12.pth.part'):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_text(note and f'nowhere/{note}')
    found = saving.find_last_checkpoint(str(tmp_path))
    assert found == str(tmp_path / 'epoch_10.pth')


def test_the_name_counts_where_it_leads_to_a_file(tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    (tmp_path / 'mine.pth').touch()
    (tmp_path / 'last_checkpoint').write_text(f'{tmp_path}/mine.pth\n')
    assert saving.find_last_checkpoint(str(tmp_path)).endswith('mine.pth')


@pytest.mark.parametrize('around', ['/', 'runs', 'runs/', 'runs/mine/'])
def test_a_name_cut_off_at_a_folder_is_mended_too(tmp_path, monkeypatch,
                                                  around):
    monkeypatch.chdir(tmp_path)
    folder = Path('runs/mine')
    folder.mkdir(parents=True)
    (folder / 'epoch_9.pth').touch()
    (folder / 'last_checkpoint').write_text(around)
    found = saving.find_last_checkpoint(str(folder))
    assert found == str(folder / 'epoch_9.pth')


def test_an_empty_folder_has_nothing_to_resume(tmp_path):
    assert saving.find_last_checkpoint(str(tmp_path)) is None


def test_a_lost_checkpoint_is_refused_not_begun_anew(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('gone/epoch_3.pth')
    with pytest.raises(FileNotFoundError, match='gone/epoch_3.pth'):
        train(tmp_path, 4, resume=True)


def test_links_and_devices_stay_what_they_are(tmp_path):
    real, link = tmp_path / 'real', tmp_path / 'link'
    real.write_bytes(b'old')
    link.symlink_to(real)
    LocalBackend().put(b'new', link)
    assert link.is_symlink() and real.read_bytes() == b'new'
    LocalBackend().put(b'new', os.devnull)
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize('elsewhere', ['run', 'ru', '.'])
def test_a_note_cut_to_any_other_folder_is_mended(tmp_path, monkeypatch,
                                                  elsewhere):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'run_2'
    for path in (folder, tmp_path / 'run', tmp_path / 'ru'):
        path.mkdir()
    (folder / 'epoch_3.pth').touch()
    (folder / 'last_checkpoint').write_text(elsewhere)
    found = saving.find_last_checkpoint(str(folder))
    assert found == str(folder / 'epoch_3.pth')


def test_a_folder_in_the_work_folder_is_a_checkpoint(tmp_path):
    (tmp_path / 'epoch_3.pth').mkdir()
    (tmp_path / 'last_checkpoint').write_text(f'{tmp_path}/epoch_3.pth')
    found = saving.find_last_checkpoint(str(tmp_path))
    assert found == f'{tmp_path}/epoch_3.pth'
