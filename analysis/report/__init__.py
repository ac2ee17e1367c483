"""A study's tables, figures and page: start reading at `page`."""
