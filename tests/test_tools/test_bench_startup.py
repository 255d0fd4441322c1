"""Both data sets start on the same small file, and the table says how."""
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path('/proc/self/smaps_rollup').exists(),
    reason='the benchmark reads its memory from /proc')

SMALL = ('--images', '60', '--objects', '400')


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('benchmarks/bench_startup')


@pytest.fixture(scope='module')
def folder(load_tool, tmp_path_factory):
    path = tmp_path_factory.mktemp('bench')
    load_tool('benchmarks/make_startup_input').main(
        [str(path / 'train.json'), *SMALL, '--categories', '30'])
    return path


@pytest.fixture
def args(tool, folder):
    return tool.parse_args([
        str(folder), *SMALL, '--repeats', '1', '--ranks', '1', '--workers',
        '2', '--worker-images', '5', '--info-images', '20'
    ])


def test_the_input_is_an_lvis_file_and_is_not_overwritten(load_tool, folder):
    content = json.loads((folder / 'train.json').read_text())
    sizes = [
        len(content[key]) for key in ('images', 'annotations', 'categories')
    ]
    assert sizes == [60, 400, 30]
    assert {
        len(item['segmentation'][0]) % 2
        for item in content['annotations']
    } == {0}
    with pytest.raises(FileExistsError, match='already there'):
        load_tool('benchmarks/make_startup_input').main(
            [str(folder / 'train.json')])


def test_both_systems_train_on_the_same_images(tool, args):
    tool.load()
    (host, host_sampler), (ours, our_sampler) = (
        tool.build(args, system) for system in tool.SYSTEMS)
    assert len(host) == len(ours) > 0
    assert list(host_sampler) == list(our_sampler)
    mine = ours.get_data_info(3)
    assert mine.pop('verified_labels')
    assert mine == host.get_data_info(3)


@pytest.mark.parametrize('system', ['host', 'ours'])
def test_a_start_is_measured(tool, args, system):
    found = tool.begin(args, system)
    assert found.keys() == {'wall', 'cpu', 'peak', 'above', 'info'}
    assert found['peak'] > 100 and found['wall'] > 0 and found['info'] > 0


@pytest.mark.parametrize('system', ['host', 'ours'])
def test_each_worker_is_measured(tool, args, system):
    assert len(tool.workers(args, system)) == 2


@pytest.mark.slow
def test_a_rank_waits_until_it_is_asked(tool, args):
    held, = tool.ranks(args, 'ours', 500)
    assert 0 < held < 200


def test_no_more_ranks_start_than_there_is_memory_for(tool, args, monkeypatch,
                                                      capsys):
    started = []

    class Job:
        """A rank that holds 5 MB."""

        def __init__(self, args, job, system):
            self.stdout = self.stdin = self
            self.lines = ['ready\n', '5.0\n']
            started.append(system)

        def readline(self):
            return self.lines.pop(0)

        def write(self, text):
            pass

        flush = close = lambda self: None

    monkeypatch.setattr(tool, 'start', Job)
    monkeypatch.setattr(tool, 'finish', lambda process: None)
    args.ranks = 8
    assert tool.ranks(args, 'ours', 1.0) == [5.0] * 8
    assert tool.ranks(args, 'host', 10.0**9) == [5.0]
    assert started == ['ours'] * 8 + ['host']
    assert 'no memory for more than' in capsys.readouterr().out


def test_the_table_has_medians_ranges_and_ratios(tool, args, monkeypatch,
                                                 capsys):
    values = dict(host=[18.0, 22.0, 20.0], ours=[2.0, 3.0, 1.0])

    def measure(args):
        return {
            system: {
                key: values[system]
                for key in tool.ROWS
            }
            for system in tool.SYSTEMS
        }

    monkeypatch.setattr(tool, 'measure', measure)
    tool.main([args.folder, *SMALL])
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith('| ')][1:]
    assert len(rows) == len(tool.ROWS)
    assert rows[0] == ('| time until ready, s | 20 (18 to 22) | 2 (1 to 3) | '
                       '0.100 |')
