#!/bin/sh
# Runs first when the container starts. Where isolation is missing or not proven the container does not stay up.
here=$(dirname "$0")
if "$here/gate.sh"; then
  exit 0
fi
echo "kap: stopping this container (exit code 137 is kap's doing)" >&2
# The devcontainer CLI runs entrypoints as children of a shell that then starts the user's command; `"init": true` puts an init
# above it. SIGTERM would be too slow: the CLI reports success before the container stops.
if [ "$PPID" -ne 1 ]; then
  kill -KILL "$PPID"
fi
# No init after all: the kernel shields process 1 from SIGKILL, so ask it to end, and never let the user's command start.
kill -TERM 1
while :; do sleep 3600; done
