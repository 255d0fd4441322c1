"""Which categories are taken for which."""
import numpy as np

from eql_mmdet.reports.confusions import Confusion, confusions_of

#: Rows are objects, columns detections, the last is background.
MATRIX = np.array([[6, 1, 3, 0], [0, 0, 2, 2], [0, 0, 0, 0], [9, 9, 9, 0]],
                  np.uint64)


def test_pairs_are_the_entries_off_the_diagonal_most_frequent_first():
    assert confusions_of(MATRIX).pairs == [
        Confusion(0, 2, 3, 0.3),
        Confusion(1, 2, 2, 0.5),
        Confusion(0, 1, 1, 0.1)
    ]


def test_shares_are_of_the_objects():
    found = confusions_of(MATRIX)
    np.testing.assert_array_equal(found.right, [0.6, 0, np.nan])
    np.testing.assert_array_equal(found.missed, [0, 0.5, np.nan])


def test_no_category_has_no_pair():
    found = confusions_of(np.zeros((1, 1), np.uint64))
    assert found.pairs == [] and len(found.right) == 0
