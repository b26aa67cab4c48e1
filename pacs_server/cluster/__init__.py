"""What a loss does to a site: which losses it survives, by a model of its parts."""
