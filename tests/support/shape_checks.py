"""The run-time checker of shape annotations in the tests: beartype, with an int as good as a float."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
