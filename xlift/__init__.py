"""xlift: a declarative experiment registry with a statistical meta-analysis layer."""
