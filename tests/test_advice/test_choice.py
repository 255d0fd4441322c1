"""What is chosen, and that docs/which.md has the figures of the reason."""
import re
from pathlib import Path

import pytest

from eql_mmdet.advice.choice import (BALANCED, FIGURES, LEAST_GAIN, Situation,
                                     choose)
from eql_mmdet.advice.methods import Method

ROOT = Path(__file__).parents[2]
TAIL = dict(imbalance=100., rare=3, common=4)


def situation(federated, binds, **counts):
    return Situation(federated, 120, 30 if binds else 300, **counts)


@pytest.mark.parametrize('key', FIGURES)
def test_a_tail_gets_the_remedy_of_its_row(key):
    found = choose(situation(*key, **TAIL))
    assert found.method == Method('class_weights')
    text = ' '.join(found.reasons)
    for figure in FIGURES[key]:
        assert re.search(rf'\b{re.escape(figure)}\b', text)
    assert ('Federated' in text) is key[0]
    assert ('fewer detections of an image' in text) is key[1]


@pytest.mark.parametrize(
    'counts', [
        dict(imbalance=1000., rare=0, common=0),
        dict(imbalance=BALANCED - .1, rare=2, common=1),
    ],
    ids=['no rare category', 'balanced'])
@pytest.mark.parametrize('key', FIGURES)
def test_without_a_tail_the_host_is_left_alone(key, counts):
    assert choose(situation(*key, **counts)).method == Method('softmax')


def test_which_md_bears_the_figures_out():
    text = (ROOT / 'docs/which.md').read_text()
    for figures in FIGURES.values():
        ap, ap_rare, plain, plain_rare = figures
        for name, first, second in (('class weights', ap, ap_rare),
                                    ('softmax', plain, plain_rare)):
            assert re.search(
                rf'\| {name} .*\| {re.escape(first)} ± [\d.]+ '
                rf'\| {re.escape(second)} ± ', text), (name, first, second)


def test_which_md_has_no_remedy_for_frequent_categories():
    """Below every head with APf, no row gains LEAST_GAIN over softmax."""
    tables = re.findall(r'((?:^\|.*\n)+)',
                        (ROOT / 'docs/which.md').read_text(), re.M)
    seen = 0
    for table in tables:
        head, _, *rows = [[cell.strip() for cell in line.split('|')[1:-1]]
                          for line in table.splitlines()]
        if head[:3] != ['loss', 'sampler', 'calibration']:
            continue
        plain, = (row for row in rows if row[:3] == ['softmax', '–', '–'])
        for column in (k for k, name in enumerate(head) if name == 'APf'):
            values = [float(row[column].split()[0]) for row in rows]
            assert max(values) < float(plain[column].split()[0]) + LEAST_GAIN
            seen += 1
    assert seen == 12
