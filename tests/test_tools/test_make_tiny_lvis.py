"""The tool writes a set and says what is in it."""
import re

import pytest

SMALL = ['--categories', '12', '--train', '40', '--val', '10', '--size', '64']


@pytest.fixture
def main(load_tool):
    return load_tool('make_tiny_lvis').main


def test_the_tool_says_what_it_wrote(main, tmp_path, capsys):
    main([str(tmp_path), *SMALL])
    out = capsys.readouterr().out
    groups = re.search(r'(\d+) rare, (\d+) common and (\d+) frequent', out)
    assert sum(map(int, groups.groups())) == 12
    assert re.search(r'train: 40 images, \d+ objects', out)
    assert re.search(r'val: 10 images, \d+ objects', out)
    assert re.search(r'written, \d+\.\d s', out)
    assert len(list((tmp_path / 'train').iterdir())) == 40


def test_a_second_call_writes_nothing(main, tmp_path, capsys):
    main([str(tmp_path), *SMALL])
    main([str(tmp_path), *SMALL])
    assert 'was already there' in capsys.readouterr().out


@pytest.mark.parametrize('more, message', [
    (['--seed', '1'], 'delete it or choose another folder'),
    (['--categories', '5'], 'expected num_categories'),
])
def test_errors_are_one_line(main, tmp_path, more, message):
    main([str(tmp_path), *SMALL])
    with pytest.raises(SystemExit, match=message):
        main([str(tmp_path), *SMALL, *more])
