"""The table of operators is complete, with ratios where MMCV is compiled."""
import sys

import pytest

from eql_mmdet.host import ops


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('benchmarks/bench_ops')


def test_table_has_a_row_for_every_case(tool, capsys):
    before = [module.ext_module for module in tool.MODULES]
    tool.main([
        '--repeat', '1', '--threads', '1', '--only', 'quick config',
        'detections'
    ])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(' | ') for line in lines if line.startswith('| ')][1:]
    assert [row[0] for row in rows] == [
        '| quick config, forward', '| quick config, backward', '| detections'
    ]
    compiled = not isinstance(sys.modules['mmcv._ext'], ops.StandIn)
    for row in rows:
        assert float(row[1]) > 0
        assert (row[3] != '- |') == compiled
    assert [module.ext_module for module in tool.MODULES] == before
