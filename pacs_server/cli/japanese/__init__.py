"""What the command line says in Japanese: the translation, and its tables of help, messages, headings and words."""
