"""What forgemesh.toml says is to run, and when it is started again."""
