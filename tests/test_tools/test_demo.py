"""The demo in small: everything it promises is in its folder."""
import re

import cv2
import pytest


def test_demo_leaves_checkpoint_table_and_pictures(demo, tmp_path, capsys):
    demo.main(['--out', str(tmp_path / 'demo')])
    out = tmp_path / 'demo'
    table = (out / 'table.md').read_text()
    assert re.search(r'\| +\| AP \| AP50 \| APr \| APc \| APf \|', table)
    assert (out / 'epoch_1.pth').is_file()
    for name in ('frequency.png', 'predictions.png'):
        picture = cv2.imread(str(out / name))
        assert picture.shape[0] > 300 and picture.std() > 10
    page = (out / 'report.html').read_text()
    percent = re.search(r'\| box \| +([\d.]+) ', table)[1]
    assert f'<th>all</th><td>{percent}</td>' in page
    assert 'data:image/jpeg' in page
    printed = capsys.readouterr().out
    assert table in printed
    command = re.search(r'tools/test.py (\S+) (\S+)', printed)
    assert (tmp_path / command[2]).is_file()


@pytest.mark.slow
def test_a_demo_goes_on_and_another_config_is_refused_in_one_line(
        demo, tmp_path):
    out = tmp_path / 'demo'
    demo.main(['--out', str(out)])
    table = (out / 'table.md').read_bytes()
    # A second call finds the model trained and only evaluates it again.
    demo.main(['--out', str(out)])
    assert (out / 'table.md').read_bytes() == table
    with open(demo.CONFIG, 'a') as file:
        file.write('optim_wrapper = dict(optimizer=dict(lr=1e-3))\n')
    with pytest.raises(SystemExit, match='^demo: "demo" was trained with an'):
        demo.main(['--out', str(out)])
    assert (out / 'table.md').read_bytes() == table


def test_another_set_is_refused_in_one_line(load_tool, tmp_path, monkeypatch):
    tool = load_tool('demo')
    monkeypatch.setattr(tool, 'ROOT', tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / tool.DATA / 'train').mkdir(parents=True)
    with pytest.raises(SystemExit, match='^demo: expected a free folder'):
        tool.main(['--out', 'out'])
