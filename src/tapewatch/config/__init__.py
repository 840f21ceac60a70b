"""One typed model of every setting, read from flags, environment, files and defaults."""
