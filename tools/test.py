#!/usr/bin/env python
"""Evaluate a checkpoint; the options are those of MMDetection's test.py."""
from eql_mmdet.host.command_line import leave
from eql_mmdet.host.launch import run_host_tool


def main(argv=None):
    """Test from the command line; ``--help`` lists the options."""
    run_host_tool('test', argv)


if __name__ == '__main__':
    main()
    leave()
