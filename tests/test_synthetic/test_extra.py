"""Who does not generate a set needs no shapely of ours."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / 'eql_mmdet'
# MMDetection 3.3 imports a shapely of any version for itself.
HOST = 'import sys, types, eql_mmdet; '
REPLACED = dict(
    missing='sys.modules["shapely"] = None; ',
    old='sys.modules["shapely"] = types.ModuleType("shapely"); ')


def test_only_the_generated_set_imports_shapely():
    rooms = {
        path.parent.name
        for path in PACKAGE.rglob('*.py')
        if re.search(r'^ *(import|from) shapely', path.read_text(), re.M)
    }
    assert rooms == {'synthetic'}


@pytest.mark.slow
@pytest.mark.parametrize('shapely', REPLACED)
def test_the_generated_set_asks_for_shapely_2(shapely):
    code = HOST + REPLACED[shapely] + 'import eql_mmdet.synthetic.tiny_lvis'
    done = subprocess.run([sys.executable, '-c', code],
                          capture_output=True,
                          text=True)
    last = done.stderr.splitlines()[-1]
    assert last.startswith('ImportError: eql_mmdet.synthetic needs shapely 2')
    assert "pip install 'shapely>=2'" in last and '"synthetic"' in last
