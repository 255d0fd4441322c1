"""Both sides do the same work in the benchmark of inference."""
import pytest
import torch


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('benchmarks/bench_inference')


def test_tables_are_printed_with_ratios(tool, capsys, monkeypatch):
    monkeypatch.setitem(tool.TEST_CFG, 'max_per_img', 20)
    tool.main([
        '--classes', '70', '--mask-classes', '1', '5', '--rois', '60',
        '--repeat', '2', '--scenes', '1', '--images', '0', '--size', '48',
        '64', '--threads', '1'
    ])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(' | ') for line in lines if line.startswith('| ')]
    boxes = [row for row in rows if row[0] == '| 70']
    assert [row[1] for row in boxes] == list(tool.SCORES)
    assert all(row[5].endswith(' x') and row[9] == '0 of 20' for row in boxes)
    masks = [row for row in rows if row[0] in ('| 1', '| 5')]
    assert [row[-1] for row in masks] == ['0 of 20 |'] * 2
    for row in masks:
        copies = [item.split(': ') for item in row[-2].split(', ')]
        # The bitmaps; scores and boxes of 20 masks; of 4 of them.
        assert [number for number, _ in copies] == ['1', '2', '2']
        sizes = [float(megabytes) for _, megabytes in copies]
        assert sizes == pytest.approx([
            20 * 48 * 64 / 2**20, 20 * 4 * (28 * 28 + 4) / 2**20, 4 * 4 *
            (28 * 28 + 4) / 2**20
        ],
                                      abs=0.006)


def test_the_host_is_not_run_where_it_would_take_minutes(tool):
    args = tool.parse_args(['--once-above', '1', '--rois', '9'])
    first, *_, last = tool.SCORES
    args.repeat = args.scenes = 1
    assert tool.measure_boxes(first, 3, args)[2] != '-'
    assert tool.measure_boxes(last, 3, args)[2] == '-'


@pytest.mark.parametrize('sigmoid', [True, False])
def test_ours_and_the_host_find_the_same(tool, sigmoid):
    kind = 'sigmoid, trained-like' if sigmoid else 'softmax, peaks'
    device = torch.device('cpu')
    tool.init_default_scope('mmdet')
    scene = tool.draw_scene(kind, 40, 200, 0, device)
    found = [
        tool.detect(tool.box_head(name, 40, sigmoid, device), scene)
        for name in ('LargeVocabBBoxHead', 'Shared2FCBBoxHead')
    ]
    assert len(found[0]) == 300
    assert tool.rows_of(found[0]) == tool.rows_of(found[1])


def test_operations_and_waits_are_counted(tool):
    operations, waits, *_ = tool.count_work(
        lambda: torch.arange(5).nonzero().add(1))
    assert operations >= 3 and waits == 1


@pytest.mark.parametrize('measure', [
    lambda tool, args: tool.measure_boxes('softmax, peaks', 9, args),
    lambda tool, args: tool.measure_masks(9, args),
    pytest.param(
        lambda tool, args: tool.measure_images(args), marks=pytest.mark.slow),
])
def test_the_device_that_is_named_is_the_one_that_works(tool, measure):
    # Nothing comes back from meta: what is measured there cannot finish.
    tool.init_default_scope('mmdet')
    args = tool.parse_args(
        ['--device', 'meta', '--size', '64', '64', '--rois', '9'])
    with pytest.raises((NotImplementedError, RuntimeError), match='(?i)meta'):
        measure(tool, args)


@pytest.mark.slow
def test_whole_models_differ_in_their_heads_alone(tool):
    tool.init_default_scope('mmdet')
    models = tool.build_models(torch.device('cpu'))
    heads = {
        name: [
            type(head).__name__
            for head in (model.roi_head.bbox_head, model.roi_head.mask_head)
        ]
        for name, model in models.items()
    }
    assert heads == dict(
        ours=['EQLBBoxHead', 'LargeVocabMaskHead'],
        host=['ConvFCBBoxHead', 'FCNMaskHead'])
