"""Counts of a few categories, as a user has them in a file."""
import pytest

HEADER = 'id,name,frequency,image_count,instance_count'


@pytest.fixture
def write_counts(tmp_path):
    """Write a counts file of categories a, b, ...; return its path."""

    def write(images, objects=None, num_images=100):
        path = tmp_path / 'counts.csv'
        rows = [
            f'{k + 1},{chr(97 + k)},c,{n},{m}'
            for k, (n, m) in enumerate(zip(images, objects or images))
        ]
        path.write_text(
            '\n'.join([f'# num_images: {num_images}', HEADER, *rows]) + '\n')
        return str(path)

    return write


@pytest.fixture
def counts_file(write_counts):
    return write_counts([1, 80, 3, 40, 2], [1, 99, 3, 41, 9])
