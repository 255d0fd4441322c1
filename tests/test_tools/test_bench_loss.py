"""The table of the loss benchmark is complete, its systems agree."""
import pytest
import torch
from matplotlib.image import imread


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('benchmarks/bench_loss')


def test_table_and_plot_have_every_loss(tool, capsys, tmp_path):
    plot = tmp_path / 'plot.png'
    tool.main([
        '--rois', '16', '--classes', '5', '9', '--seconds', '0', '--threads',
        '1', '--plot',
        str(plot)
    ])
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith('| ')]
    names = [row.split(' | ')[0][2:] for row in rows]
    per_size = ['loss', *tool.systems(4, 3, torch.device('cpu'), False)]
    assert names == 2 * per_size
    authors = next(row for row in rows if tool.AUTHORS in row)
    assert authors.split(' | ')[2] == '1.00'
    assert imread(plot).std() > 0
    with pytest.raises(FileExistsError, match='already there'):
        tool.main(['--plot', str(plot)])


def test_all_forms_of_the_loss_have_the_same_gradient(tool):
    runs = tool.systems(12, 7, torch.device('cpu'), False)
    fused, = runs[tool.OURS]()
    for name in ('EQL, definition', tool.AUTHORS):
        torch.testing.assert_close(runs[name]()[0], fused)
    assert (fused == 0).any() and (fused != 0).any()


def test_an_iteration_runs_on_the_device_that_is_named(tool):
    # Nothing comes back from meta: what is measured there cannot finish.
    with pytest.raises((NotImplementedError, RuntimeError), match='meta'):
        tool.main(['--device', 'meta', '--iteration', '64', '64'])


@pytest.mark.parametrize('held, expected', [(False, 4000), (True, 12000)])
def test_peak_memory_is_the_most_at_once(tool, held, expected):

    def run():
        kept = []
        for _ in range(3):
            tensor = torch.empty(1000)
            if held:
                kept.append(tensor)
            del tensor

    assert tool.peak_memory(run, torch.device('cpu')) == expected
