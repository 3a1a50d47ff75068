#!/bin/sh
# Sums up a file. Condition: {"path": "FILE"}; result: {"path", "sha256", "bytes"}. A relative path is looked up
# below the folder that holds examples/. POSIX sh, sed and sha256sum.
#
# The path is cut out of the JSON text by sed, so one that needs an escape (quotes, backslashes) is refused.
set -eu

refuse() {
    printf '{"error":{"class":"fatal","text":"%s"}}\n' "$1" >&3
    exit 0
}

task=$(cat)
path=$(printf '%s\n' "$task" | sed -n 's/.*"condition":{ *"path": *"\([^"\\]*\)" *}.*/\1/p')
[ -n "$path" ] || refuse 'the condition must be {\"path\": FILE}, the path without quotes and backslashes'

case $path in
/*) file=$path ;;
*) file=$(dirname "$0")/../$path ;;
esac
[ -f "$file" ] || refuse "no such file: $path"

echo "reading $file"
sum=$(sha256sum <"$file")
bytes=$(wc -c <"$file")
printf '{"result":{"path":"%s","sha256":"%s","bytes":%d}}\n' "$path" "${sum%% *}" "$bytes" >&3
