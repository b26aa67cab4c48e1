"""What this site does with its partners: greet, answer, give what is owed, change sides in a failover."""
