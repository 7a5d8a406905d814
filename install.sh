#!/bin/sh
# Installs realm for the current user: one executable, verified by its sha256. Never needs root.
#
#   sh install.sh                     the newest release, to ~/.local/bin/realm
#   sh install.sh --from FILE         a build of your own (./dev build makes out/realm)
#   sh install.sh --uninstall         takes the executable away again; data stays
#
#   --from FILE      install this file, not a release
#   --sha256 DIGEST  what its sha256 must be; otherwise FILE.sha256 beside it says so
#   --releases URL   where releases are (default $REALM_RELEASES)
#   --prefix DIR     install to DIR/bin (default ~/.local)
#   --uninstall      remove the executable
#   --help           print this
#
# Exit status: 0 done, 1 failed, 2 wrong usage, 3 the digest does not match.
set -eu
umask 022

fail() { # STATUS MESSAGE [HINT]
  echo "error: $2" >&2
  [ -z "${3:-}" ] || echo "hint: $3" >&2
  exit "$1"
}

usage() {
  sed -n '2,/^set -eu$/s/^# \{0,1\}//p' "$0"
}

# Prints the target triple of this machine, as releases are named.
target() {
  os=$(uname -s)
  arch=$(uname -m)
  case "$os" in
    Linux) os=unknown-linux-gnu ;;
    Darwin) os=apple-darwin ;;
    *) fail 1 "Cannot install on $os: wanted Linux or Darwin" \
      "On Windows take realm-x86_64-pc-windows-msvc.exe from the releases" ;;
  esac
  case "$arch" in
    x86_64 | amd64) arch=x86_64 ;;
    aarch64 | arm64) arch=aarch64 ;;
    *) fail 1 "Cannot install on $arch: wanted x86_64 or aarch64" ;;
  esac
  echo "$arch-$os"
}

sha256_of() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum "$1" | cut -d' ' -f1
  elif command -v shasum >/dev/null 2>&1; then
    shasum -a 256 "$1" | cut -d' ' -f1
  elif command -v openssl >/dev/null 2>&1; then
    openssl dgst -sha256 "$1" | sed 's/.* //'
  else
    fail 1 "Cannot verify the download: there is no sha256sum, shasum or openssl"
  fi
}

# Fetches URL to FILE; follows redirects, and none from https to http.
fetch() {
  if command -v curl >/dev/null 2>&1; then
    case "$1" in https:*) only='=https' ;; *) only='=http,https,file' ;; esac
    curl --fail --silent --show-error --location --proto-redir "$only" --proto "$only" \
      --output "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then
    case "$1" in https:*) only=--https-only ;; *) only= ;; esac
    wget --quiet $only --output-document="$2" "$1"
  else
    fail 1 "Cannot download: there is neither curl nor wget" "Download it yourself, then --from FILE"
  fi
}

# One function, called on the last line: a download that breaks off does nothing.
main() {
  from= digest= prefix= uninstall=
  releases=${REALM_RELEASES:-}
  while [ $# -gt 0 ]; do
    case "$1" in
      --from | --sha256 | --releases | --prefix)
        [ $# -ge 2 ] && [ -n "$2" ] || fail 2 "Cannot read $1: nothing follows, wanted a value"
        case "$1" in
          --from) from=$2 ;;
          --sha256) digest=$2 ;;
          --releases) releases=$2 ;;
          --prefix) prefix=$2 ;;
        esac
        shift 2
        ;;
      --uninstall) uninstall=yes && shift ;;
      --help | -h) usage && exit 0 ;;
      *) fail 2 "Cannot read $1: not an option" "sh install.sh --help lists them" ;;
    esac
  done

  if [ -z "$prefix" ]; then
    [ -n "${HOME:-}" ] || fail 2 "Cannot choose a folder: HOME is not set" "Name one with --prefix DIR"
    prefix=$HOME/.local
  fi
  bin=$prefix/bin
  installed=$bin/realm

  if [ -n "$uninstall" ]; then
    [ -e "$installed" ] || fail 1 "Cannot uninstall $installed: it is not there"
    rm -f "$installed"
    echo "removed $installed (data in ~/.realm stays)"
    exit 0
  fi

  mkdir -p "$bin" 2>/dev/null || fail 1 "Cannot make the folder $bin" "Choose another with --prefix DIR"
  [ -w "$bin" ] || fail 1 "Cannot write to $bin" "Choose another folder with --prefix DIR; root is not needed"
  # Beside its place, so that the move at the end is atomic and the old one runs on.
  temporary=$(mktemp "$bin/.realm.XXXXXX") || fail 1 "Cannot write to $bin"
  trap 'rm -f "$temporary" "$temporary.sha256"' EXIT
  trap 'exit 1' HUP INT TERM

  if [ -n "$from" ]; then
    [ -f "$from" ] || fail 1 "Cannot install $from: there is no such file" "Build it with ./dev build"
    cp "$from" "$temporary"
    what=$from
    if [ -z "$digest" ]; then
      [ -f "$from.sha256" ] ||
        fail 1 "Cannot verify $from: $from.sha256 is not there" "Say what it must be with --sha256 DIGEST"
      cp "$from.sha256" "$temporary.sha256"
    fi
  else
    [ -n "$releases" ] ||
      fail 2 "Cannot download realm: no address of releases, wanted --releases URL or REALM_RELEASES" \
        "Or install a build of your own with --from FILE"
    what=${releases%/}/realm-$(target)
    fetch "$what" "$temporary" || fail 1 "Cannot download $what"
    if [ -z "$digest" ]; then
      fetch "$what.sha256" "$temporary.sha256" || fail 1 "Cannot download $what.sha256"
    fi
  fi

  [ -n "$digest" ] || digest=$(cut -d' ' -f1 <"$temporary.sha256" | head -n 1)
  case "$digest" in
    *[!0-9a-fA-F]* | '') fail 3 "Cannot verify $what: \"$digest\" is not a sha256" ;;
  esac
  [ ${#digest} -eq 64 ] || fail 3 "Cannot verify $what: \"$digest\" is not a sha256"
  want=$(echo "$digest" | tr 'A-F' 'a-f')
  got=$(sha256_of "$temporary")
  [ "$got" = "$want" ] || fail 3 "Cannot install $what: its sha256 is $got, wanted $want" \
    "Nothing was installed; download it again, and if it stays so do not run it"

  chmod 755 "$temporary"
  version=$("$temporary" --version 2>/dev/null) ||
    fail 1 "Cannot install $what: it does not run on this machine ($(uname -sm))"
  mv -f "$temporary" "$installed"
  echo "installed $version to $installed"
  case ":${PATH:-}:" in
    *":$bin:"*) ;;
    *) echo "hint: $bin is not on your PATH; add this line to your shell's profile:" >&2
      echo "  export PATH=\"$bin:\$PATH\"" >&2 ;;
  esac
}

main "$@"
