"""From the hub to files: data sets and weights at pinned commits, verified, as tasks and loaders read them."""
