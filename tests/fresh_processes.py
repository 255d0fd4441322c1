"""Processes that have imported the package, and nothing of the tests.

A server imports it once, in six seconds; the processes are forks of it.
"""
import multiprocessing
import os
import pickle
import runpy
import sys
import traceback

fresh = multiprocessing.get_context('forkserver')
fresh.set_forkserver_preload(['eql_mmdet'])


def run_script(path, args, cwd, env, output):
    """Run a script as Python does, and wait.

    Args:
        path: The script.
        args: What follows its name on the command line.
        cwd: Its folder.
        env: All of its environment.
        output: File for what it and its children print.

    Returns:
        Its exit status.
    """
    process = fresh.Process(
        target=_run_script, args=(path, args, cwd, env, output))
    process.start()
    process.join()
    return process.exitcode


def _run_script(path, args, cwd, env, output):
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    with open(output, 'wb') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = [str(path), *args]
    more = env.get('PYTHONPATH', '').split(os.pathsep)
    sys.path[:0] = [str(path.parent), *filter(None, more)]
    # Ends like a program, also with sys.exit('why').
    runpy.run_path(str(path), run_name='__main__')


def run_two_ranks(body, folder, test_dir, **given):
    """Run Python in two processes of gloo.

    Args:
        body: The code; it finds ``rank`` and what is given.
        folder: A free folder, in which it runs.
        test_dir: Where it finds modules beside those of ``tests``.
        **given: Variables by name, which can be pickled.

    Returns:
        What ``result`` is in each process at the end.
    """
    ranks = [
        fresh.Process(
            target=_run_rank, args=(rank, body, folder, test_dir, given))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
        rank.kill()
    texts = [path.read_text() for path in folder.glob('error_?')]
    assert [rank.exitcode for rank in ranks] == [0, 0], '\n'.join(texts)
    return [
        pickle.loads((folder / f'result_{rank}').read_bytes())
        for rank in range(2)
    ]


def _run_rank(rank, body, folder, test_dir, given):
    import torch.distributed as dist
    sys.path.insert(0, str(test_dir))
    os.chdir(folder)
    try:
        dist.init_process_group(
            'gloo',
            init_method=f'file://{folder}/store',
            rank=rank,
            world_size=2)
        names = dict(given, rank=rank)
        exec(body, names)
        (folder / f'result_{rank}').write_bytes(pickle.dumps(names['result']))
        dist.destroy_process_group()
    except BaseException:
        (folder / f'error_{rank}').write_text(traceback.format_exc())
        os._exit(1)
    # Not through the end of the interpreter: a thread of gloo may still
    # want it.
    os._exit(0)
