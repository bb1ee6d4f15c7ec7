"""One page about a run: `collect` gathers what there is to say as plain data, `page` makes HTML of it."""
