"""Words and frozen types of the subject. Imports nothing of ours."""
