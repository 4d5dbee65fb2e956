#!/bin/sh
# The gate once more, as onCreateCommand and postStartCommand: fails the start in the open, where people look, and before any
# command of the user's configuration runs.
exec "$(dirname "$0")/gate.sh"
