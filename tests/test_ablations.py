"""Every ablation changes what it names, and nothing else."""
from functools import lru_cache
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).parents[1] / 'configs'
HEAD = 'model.roi_head.bbox_head'
LOSS = f'{HEAD}.loss_cls'
SAMPLER = 'train_dataloader.sampler'
SWEEP = {'frequency_threshold', 'num_images'}
DECAY = SWEEP | {'decay'}
#: Ablation -> its base and the settings of the loss that differ.
OF_THE_LOSS = {
    'eql_exponential_r50_fpn_1x_lvis': ('eql_r50_fpn_1x_lvis', DECAY),
    'eql_gompertz_r50_fpn_1x_lvis': ('eql_r50_fpn_1x_lvis', DECAY),
    'eql_tail-ratio-0.05_r50_fpn_1x_lvis':
    ('eql_r50_fpn_1x_lvis', {'frequency_threshold', 'tail_ratio'}),
    'eql_no-exclusion_r50_fpn_1x_lvis':
    ('eql_r50_fpn_1x_lvis', {'exclude_background'}),
    'sigmoid_rfs_r50_fpn_1x_lvis':
    ('eql_rfs_r50_fpn_1x_lvis', {'frequency_threshold'}),
    '../sigmoid_r50_fpn_1x_lvis':
    ('eql_r50_fpn_1x_lvis', {'frequency_threshold'}),
}
#: Ablation -> its base and the dotted settings that differ.
OF_THE_REST = {
    'eql_class-agnostic-mask_r50_fpn_1x_lvis':
    ('eql_r50_fpn_1x_lvis', {'model.roi_head.mask_head.class_agnostic'}),
    'baseline_rfs_r50_fpn_1x_lvis':
    ('baseline_r50_fpn_1x_lvis',
     {f'{SAMPLER}.type', f'{SAMPLER}.repeat_threshold', f'{SAMPLER}.shuffle'}),
    'baseline_cas_r50_fpn_1x_lvis': ('baseline_r50_fpn_1x_lvis',
                                     {f'{SAMPLER}.type',
                                      f'{SAMPLER}.shuffle'}),
    'sigmoid_cas_r50_fpn_1x_lvis':
    ('eql_r50_fpn_1x_lvis',
     {f'{LOSS}.frequency_threshold', f'{SAMPLER}.type', f'{SAMPLER}.shuffle'}),
    'eql_verified_r50_fpn_1x_lvis': ('eql_r50_fpn_1x_lvis', {
        f'{LOSS}.keep_verified', 'model.train_cfg.rcnn.sampler.type',
        'train_dataloader.dataset.pipeline'
    }),
    'ablations/eql_verified_r50_fpn_1x_lvis_v1':
    ('ablations/eql_r50_fpn_1x_lvis_v1', {
        f'{LOSS}.keep_verified', 'model.train_cfg.rcnn.sampler.type',
        'train_dataloader.dataset.pipeline'
    }),
    'ablations/eql_rfs_r50_fpn_1x_lvis_v1':
    ('ablations/eql_r50_fpn_1x_lvis_v1',
     {f'{SAMPLER}.type', f'{SAMPLER}.repeat_threshold', f'{SAMPLER}.shuffle'}),
}
# Table 2 of the paper, D = 57,263: lambda and number of protected categories.
# Its first row, lambda = 0, is sigmoid_r50: no denominator protects any.
TABLE_2 = [('0.176e-3', 454), ('0.5e-3', 694), ('0.8e-3', 792),
           ('1.5e-3', 888), ('1.76e-3', 915), ('2.0e-3', 929), ('3.0e-3', 977),
           ('5.0e-3', 1023)]


@lru_cache(maxsize=None)
def parse(name):
    return Config.fromfile(ROOT / f'{name}.py')


def flat(settings, prefix=''):
    """Dotted names and values of nested dictionaries; lists are values."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    return {
        name: value
        for key, part in settings.items()
        for name, value in flat(part, f'{prefix}.{key}'.lstrip('.')).items()
    }


def changed(ours, base):
    """Dotted names of the settings that differ between two configs."""
    a, b = (flat(parse(name).to_dict()) for name in (ours, base))
    return {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)}


def build_loss(name):
    cfg = parse(name)
    init_default_scope('mmdet')
    return MODELS.build(cfg.model.roi_head.bbox_head.loss_cls)


@pytest.mark.parametrize('row', TABLE_2, ids=lambda row: row[0])
def test_sweep_protects_as_many_as_table_2_of_the_paper(row):
    threshold, protected = row
    name = f'ablations/eql_lambda-{threshold}_r50_fpn_1x_lvis'
    loss = build_loss(name)
    assert loss.frequency_threshold == float(threshold)
    assert loss.tail_mask.sum() == protected
    assert changed(
        name, 'eql_r50_fpn_1x_lvis') == {f'{LOSS}.{key}'
                                         for key in SWEEP}


@pytest.mark.parametrize('name', OF_THE_LOSS)
def test_loss_ablation_changes_what_it_names(name):
    base, keys = OF_THE_LOSS[name]
    found = changed(f'ablations/{name}', base)
    assert {key[len(LOSS) + 1:].split('.')[0] for key in found} == keys
    assert all(key.startswith(LOSS) for key in found)


@pytest.mark.parametrize('name', OF_THE_REST)
def test_ablation_changes_what_it_names(name):
    base, keys = OF_THE_REST[name]
    path = name if '/' in name else f'ablations/{name}'
    assert changed(path, base) == keys


@pytest.mark.parametrize('decay, tail', [('exponential', 884.6),
                                         ('gompertz', 897.9)])
def test_decays_weigh_about_as_much_as_the_threshold(decay, tail):
    # Of 915; the sums are those of the formulas at 56,740 images.
    loss = build_loss(f'ablations/eql_{decay}_r50_fpn_1x_lvis')
    assert loss.tail_mask.sum().item() == pytest.approx(tail, abs=2)


def test_background_teaches_nothing_without_exclusion():
    assert not build_loss(
        'ablations/eql_no-exclusion_r50_fpn_1x_lvis').exclude_background


@pytest.mark.parametrize(
    'name', ['sigmoid', 'ablations/sigmoid_rfs', 'ablations/sigmoid_cas'])
def test_sigmoid_baselines_protect_nothing(name):
    loss = build_loss(f'{name}_r50_fpn_1x_lvis')
    assert loss.tail_mask.sum() == 0


def test_softmax_eql_has_the_threshold_of_the_headline_config():
    loss = build_loss('ablations/seql_r50_fpn_1x_lvis')
    assert loss.tail_mask.sum() == 915 and loss.gamma == 0.9


def test_lvis_v1_protects_all_rare_and_common():
    loss = build_loss('ablations/eql_r50_fpn_1x_lvis_v1')
    assert loss.tail_mask.sum() == 337 + 461


@pytest.mark.parametrize('data', ['lvis', 'lvis_v1'])
def test_verified_configs_pack_the_sets_and_change_no_other_step(data):
    names = [
        f'ablations/eql_verified_r50_fpn_1x_{data}', 'eql_r50_fpn_1x_lvis'
        if data == 'lvis' else 'ablations/eql_r50_fpn_1x_lvis_v1'
    ]
    ours, base = (parse(name).train_dataloader.dataset for name in names)
    assert ours.type == base.type == 'LVISFormatDataset'
    assert ours.pipeline[:-1] == base.pipeline[:-1]
    assert base.pipeline[-1].type == 'PackDetInputs'
    assert ours.pipeline[-1] == dict(type='PackVerifiedInputs')
