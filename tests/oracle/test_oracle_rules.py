"""The rules make what the authors' code was given."""
import oracle_rules as rules


def test_image_and_weights_are_those_that_the_authors_code_saw(
        records, weights):
    assert rules.crc(
        rules.paint_image()) == records("summary")["image"]["rgb_crc32"]
    assert len(weights) == 307  # each was compared when it was made


def test_annotations_are_ten_objects_of_eight_categories():
    objects = rules.list_annotations()
    assert [o['category_id']
            for o in objects] == [4, 1230, 1, 2, 40, 91, 91, 177, 819, 4]
    assert objects[0]['bbox'] == [24.5, 118.0, 221.5, 169.5]
    assert objects[0]['area'] == 27853.8125
