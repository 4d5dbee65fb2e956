"""Meaning of kap.toml: model, schema, layers, lints, problems. Pure (reads files only in `layers`)."""
