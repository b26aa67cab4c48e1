"""What is asked of the rows: the predicates of an identifier as SQL, answers, one study for a person, and the trash."""
