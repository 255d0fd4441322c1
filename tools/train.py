#!/usr/bin/env python
"""Train a detector; the options are those of MMDetection's tools/train.py."""
from eql_mmdet.host.command_line import leave
from eql_mmdet.host.launch import run_host_tool


def main(argv=None):
    """Train from the command line; ``--help`` lists the options."""
    run_host_tool('train', argv)


if __name__ == '__main__':
    main()
    leave()
