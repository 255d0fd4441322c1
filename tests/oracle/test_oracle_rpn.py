"""The RPN learns from the anchors that the authors' learns from."""
import oracle_rules as rules
import oracle_training_rows as rows
from oracle_compare import assert_rows


def test_anchors_get_the_same_labels(records, models, see):
    """Every object keeps its best anchor, be its IoU below 0.3."""
    recorded = records('rpn')
    assert recorded['best_iou_of_gt'].min() < 0.3
    assert_rows(
        rows.anchor_rows(models('eql'), see(320, training=True), recorded))


def test_labels_are_recorded_whole(records):
    """By the places of those that are not 0."""
    recorded = records('rpn')
    labels = rows.recorded_labels(recorded)
    assert rules.crc(labels) == recorded['labels_int8_crc32']
    assert (labels >= 0).sum() == 34657


def test_rpn_losses_are_equal(records, models, see):
    assert_rows(
        rows.rpn_loss_rows(
            models('eql'), see(320, training=True), records('rpn')))
