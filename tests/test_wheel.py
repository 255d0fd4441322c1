"""What is installed from a wheel, without the repository."""
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    p.relative_to(ROOT / 'configs').as_posix()
    for p in (ROOT / 'configs').rglob('*.py'))
#: Reads the user's config and all of ours, as a user's script would.
SCRIPT = '''
import json, sys
from pathlib import Path
import eql_mmdet
from mmengine.config import Config
root = Path(eql_mmdet.__file__).parent
mine = Config.fromfile('mine.py')
folder = root / '.mim/configs'
ours = {p.relative_to(folder).as_posix(): 'model' in Config.fromfile(p)
        for p in folder.rglob('*.py')}
Path('seen.json').write_text(json.dumps(
    dict(root=str(root), path=sys.path, mine=mine.to_dict(), ours=ours)))
'''


def run(*command, cwd, **env):
    done = subprocess.run([sys.executable, *map(str, command)],
                          cwd=cwd,
                          env={
                              **os.environ,
                              **env
                          },
                          stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT,
                          text=True)
    assert not done.returncode, done.stdout[-3000:]


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A folder with the wheel and the source archive, made from a copy."""
    copy = tmp_path_factory.mktemp('copy')
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, copy)
    for name in ('eql_mmdet', 'configs'):
        shutil.copytree(
            ROOT / name,
            copy / name,
            symlinks=True,
            ignore=shutil.ignore_patterns('__pycache__'))
    out = tmp_path_factory.mktemp('dist')
    run('-m',
        'pip',
        'wheel',
        '--no-deps',
        '--no-build-isolation',
        '--no-index',
        '-w',
        out,
        '.',
        cwd=copy)
    run('-c',
        'import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])',
        out,
        cwd=copy)
    return out


@pytest.fixture(scope='module')
def seen(built, tmp_path_factory):
    """What a script sees that has the installed wheel and no repository."""
    target = tmp_path_factory.mktemp('installed')
    folder = tmp_path_factory.mktemp('elsewhere')
    wheel, = built.glob('*.whl')
    run('-m',
        'pip',
        'install',
        '--no-deps',
        '--no-index',
        '--target',
        target,
        wheel,
        cwd=folder)
    (folder /
     'mine.py').write_text("_base_ = 'eql_mmdet::eql_r50_fpn_1x_lvis.py'\n")
    packages = {sysconfig.get_path(k) for k in ('purelib', 'platlib')}
    # -S: no .pth file leads back to the repository.
    run('-S',
        '-c',
        SCRIPT,
        cwd=folder,
        PYTHONPATH=os.pathsep.join([str(target), *sorted(packages)]))
    found = json.loads((folder / 'seen.json').read_text())
    assert found['root'] == str(target / 'eql_mmdet')
    assert str(ROOT) not in found['path']
    return found


def test_wheel_and_source_archive_hold_every_config(built):
    wheel, = built.glob('*.whl')
    archive, = built.glob('*.tar.gz')
    with tarfile.open(archive) as file:
        inside = {
            member.name.partition('/')[2]: member.isfile()
            for member in file.getmembers()
        }
    with zipfile.ZipFile(wheel) as file:
        for name in CONFIGS:
            installed = f'eql_mmdet/.mim/configs/{name}'
            text = (ROOT / 'configs' / name).read_bytes()
            assert file.read(installed) == text
            assert inside[installed]


def test_wheel_holds_the_template_of_the_page(built):
    wheel, = built.glob('*.whl')
    with zipfile.ZipFile(wheel) as file:
        for path in (ROOT / 'eql_mmdet/reports/template').iterdir():
            name = path.relative_to(ROOT).as_posix()
            assert file.read(name) == path.read_bytes()


@pytest.mark.slow
def test_installed_configs_find_their_bases(seen):
    assert set(seen['ours']) == set(CONFIGS)
    assert all(seen['ours'].values())


@pytest.mark.slow
def test_config_elsewhere_finds_the_installed_ones(seen):
    ours = Config.fromfile(ROOT / 'configs/eql_r50_fpn_1x_lvis.py').to_dict()
    assert seen['mine'] == json.loads(json.dumps(ours))
