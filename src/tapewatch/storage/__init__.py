"""What is kept on disk: the state store, the sample store, snapshots, and the directory's lock."""
