"""The version, readable without the host stack."""
__version__ = '0.1.0'
