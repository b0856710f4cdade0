#!/bin/sh
# Secrets come as files: ISOVOX_SECRET_NAME=/run/secrets/file sets NAME to what the file holds, for this process and its children
# alone; so no secret stands in an image, a compose file, a manifest or a list of processes.
set -eu
for name in $(env | sed -n 's/^ISOVOX_SECRET_\([A-Z][A-Z0-9_]*\)=.*/\1/p'); do
  eval "file=\$ISOVOX_SECRET_$name"
  # shellcheck disable=SC2154  # eval sets it
  if [ ! -r "$file" ]; then
    echo "isovox: $name: expected a secret in $file, but got none that can be read. Mount it there." >&2
    exit 78
  fi
  value=$(cat "$file")
  export "$name=$value"
done
exec "$@"
