"""Sites beside each other: which losses one survives, by a model of its parts; and the link between two of them."""
