"""The checks of an audit, one function each: a subject in, a finding out."""
