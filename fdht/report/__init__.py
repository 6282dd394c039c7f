"""A model on an engine as one page of HTML."""
