"""Files are whole or not there, and refusals are one line."""
import os
import sys
import time

import pytest
from fresh_processes import fresh

from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file


def test_a_file_is_written_with_its_folders(tmp_path):
    path = tmp_path / 'a/b/c.txt'
    with whole_file(path) as file:
        file.write('one')
        assert not path.exists()
    assert path.read_text() == 'one'
    assert os.listdir(path.parent) == ['c.txt']


@pytest.mark.parametrize('before', [None, 'old'])
@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, before, error):
    path = tmp_path / 'c.txt'
    if before:
        path.write_text(before)
    with pytest.raises(error):
        with whole_file(path) as file:
            file.write('half')
            raise error
    assert (path.read_text() if path.exists() else None) == before
    assert len(os.listdir(tmp_path)) == bool(before)


def test_an_existing_file_is_replaced_only_if_it_may_be(tmp_path):
    path = tmp_path / 'c.txt'
    path.write_text('old')
    with pytest.raises(FileExistsError, match='c.txt" is already there'):
        with whole_file(path, replace=False) as file:
            file.write('new')
    assert path.read_text() == 'old' and os.listdir(tmp_path) == ['c.txt']
    with whole_file(path) as file:
        file.write('new')
    assert path.read_text() == 'new'


def test_file_systems_without_second_names_are_written_to(
        tmp_path, monkeypatch):

    def link(*args):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', link)
    with whole_file(tmp_path / 'c.txt', replace=False) as file:
        file.write('new')
    assert os.listdir(tmp_path) == ['c.txt']
    with pytest.raises(FileExistsError, match='already there'):
        with whole_file(tmp_path / 'c.txt', replace=False) as file:
            file.write('newer')
    assert (tmp_path / 'c.txt').read_text() == 'new'


def test_what_a_link_points_to_is_replaced(tmp_path):
    (tmp_path / 'target').write_text('old')
    (tmp_path / 'c.txt').symlink_to('target')
    with whole_file(tmp_path / 'c.txt') as file:
        file.write('new')
    assert (tmp_path / 'c.txt').is_symlink()
    assert (tmp_path / 'target').read_text() == 'new'


def test_text_is_utf_8_and_read_as_any_file(tmp_path):
    (tmp_path / 'usual').touch()
    with whole_file(tmp_path / 'c.txt') as file:
        file.write('λ')
        assert file.encoding == 'utf-8'
    usual, ours = ((tmp_path / name).stat().st_mode
                   for name in ('usual', 'c.txt'))
    assert ours == usual


def write_half(path, written):
    with whole_file(path, 'wb', replace=False) as file:
        file.write(b'half')
        file.flush()
        written.set()
        time.sleep(60)


def test_a_killed_process_leaves_nothing_in_the_way(tmp_path):
    path, written = tmp_path / 'model.pth', fresh.Event()
    process = fresh.Process(target=write_half, args=(path, written))
    process.start()
    assert written.wait(60)
    process.kill()
    process.join()
    assert not path.exists()
    with whole_file(path, 'wb', replace=False) as file:
        file.write(b'whole')
    assert path.read_bytes() == b'whole'


@pytest.mark.parametrize('error', [ValueError, TypeError, FileExistsError])
def test_a_refusal_is_one_line(error):

    @one_line_refusals('tool')
    def main():
        raise error('no')

    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 'tool: no'


def test_other_errors_keep_their_traceback():

    @one_line_refusals('tool')
    def main():
        raise KeyError('a')

    with pytest.raises(KeyError):
        main()


@pytest.mark.parametrize('name, args', [
    ('count_classes.py', ['none.json']),
    ('count_classes.py', ['bad.json', '--out', 'counts.csv']),
    ('count_classes.py', ['bad.json', '--out', 'counts.txt']),
    ('eval_results.py', ['none.pkl', 'bad.json']),
    ('compare_results.py', ['a.pkl', 'b.pkl', '--ann', 'bad.json']),
    ('collect_ablations.py', ['nowhere']),
    ('convert_detectron2.py', ['none.pth', 'out.pth']),
    ('make_tiny_lvis.py', ['out', '--categories', '1']),
    ('train.py', ['none.py']),
    ('test.py', ['none.py', 'none.pth']),
])
def test_a_tool_refuses_in_one_line(load_tool, tmp_path, monkeypatch, name,
                                    args):
    (tmp_path / 'bad.json').write_text('{"images": [')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [name])
    with pytest.raises(SystemExit) as stop:
        load_tool(name[:-3]).main(args)
    # Python prints what is no number, and makes the status 1.
    assert stop.value.code.startswith(f'{name[:-3]}: ')
    assert '\n' not in stop.value.code
    assert sorted(os.listdir(tmp_path)) == ['bad.json']


def test_a_refusal_has_no_traceback(run_tool, tmp_path):
    output = run_tool(
        'count_classes.py', 'none.json', cwd=tmp_path, check=False)
    lines = [line for line in output.splitlines() if 'Warning' not in line]
    assert lines[-1].startswith('count_classes: ')
    assert 'Traceback' not in output
