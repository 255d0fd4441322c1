"""The generated set; it alone needs shapely 2, which an extra brings."""
try:
    # The host brings any version; the first with this function is 2.0.
    from shapely import get_parts  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'eql_mmdet.synthetic needs shapely 2 ({error}); run "pip install '
        f'\'shapely>=2\'", or install eql_mmdet with its extra "synthetic"'
    ) from error
