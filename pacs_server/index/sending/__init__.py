"""What is owed to others: to partners, to destinations, and to those who asked for storage commitment."""
