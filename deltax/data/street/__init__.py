"""A rendered, labelled street."""
