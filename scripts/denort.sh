#!/bin/sh
# Prints the path of a base binary for `deno compile` (Deno 2.7.11, x86-64 Linux), making it once.
#
# For tests where the official base binary cannot be downloaded; what is compiled with it is never
# released. A public npm package ships an executable that was compiled by this very Deno: what was
# appended to the base binary is cut off again, and the result is checked by digest.
# usage: DENORT_BIN=$(scripts/denort.sh) deno compile …
set -eu

package=@stdy/cli-linux-x64@0.22.2
executable=package/bin/steady
bytes=97076048
want=f12d5d3886d5ea138304fb8d67d7396cfbedf53656676132152cb89f3fa4d8e6

fail() {
  echo "error: Cannot make a base binary: $1" >&2
  exit 1
}

[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm), wanted Linux x86_64"
command -v npm >/dev/null || fail "there is no npm to fetch $package with"

digest() {
  sha256sum "$1" | cut -d' ' -f1
}

out=${XDG_CACHE_HOME:-$HOME/.cache}/denort-2.7.11-x86_64-linux
if [ ! -x "$out" ] || [ "$(digest "$out")" != "$want" ]; then
  mkdir -p "$(dirname "$out")"
  tmp=$(mktemp -d "$out.XXXXXX") # on the same file system, so that the move is atomic
  trap 'rm -rf "$tmp"' EXIT
  (cd "$tmp" && npm pack --silent "$package" >/dev/null && tar xzf ./*.tgz) ||
    fail "$package cannot be fetched"
  head -c "$bytes" "$tmp/$executable" >"$tmp/denort"
  got=$(digest "$tmp/denort")
  [ "$got" = "$want" ] || fail "its digest is $got, wanted $want"
  chmod 755 "$tmp/denort"
  mv "$tmp/denort" "$out"
fi
echo "$out"
