"""The hot path of storing: what is known of an object, groups of them entered in one transaction, added fields."""
