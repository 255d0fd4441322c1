"""Who does not generate a set needs no shapely of ours."""
import subprocess
import sys

import pytest

# MMDetection 3.3 imports a shapely of any version for itself.
HOST = 'import sys, types, mmdet.datasets, mmdet.evaluation, mmdet.models; '
REPLACED = dict(
    missing='sys.modules["shapely"] = None; ',
    old='sys.modules["shapely"] = types.ModuleType("shapely"); ')


def run(code):
    return subprocess.run([sys.executable, '-c', HOST + code],
                          capture_output=True,
                          text=True)


@pytest.mark.parametrize('shapely', REPLACED)
def test_only_the_generated_set_asks_for_shapely_2(shapely):
    done = run(REPLACED[shapely] + 'import eql_mmdet; print("imported"); '
               'import eql_mmdet.synthetic.tiny_lvis')
    assert done.stdout.endswith('imported\n'), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith('ImportError: eql_mmdet.synthetic needs shapely 2')
    assert "pip install 'shapely>=2'" in last and '"synthetic"' in last
