#!/bin/sh
# Installs realm for the current user: one executable, verified. Never becomes root by itself.
#
#   sh install.sh                     the newest release, to ~/.local/bin/realm; once more upgrades it
#   sh install.sh --from FILE         a build of your own (./dev build makes out/realm)
#   sh install.sh --from FILE --service user -- --ticket realm1z…
#                                     and a service that keeps an agent running
#   sh install.sh --uninstall         takes everything away again; data stays
#
#   --from FILE         install this file, not a release
#   --sha256 DIGEST     what its sha256 must be; otherwise FILE.sha256 beside it says so
#   --releases URL      where releases are (default $REALM_RELEASES): SHA256SUMS, its signature, and
#                       an executable for each platform
#   --release-key KEY   the key that signs releases, as ./dev release prints it (in the install.sh of
#                       a release it is written down already); needs openssl 3
#   --downgrade         take an older version than the one that is installed, too
#   --prefix DIR        install to DIR/bin (default ~/.local, with --service system /usr/local)
#   --service user      run realm agent as a service of this user, by systemd or launchd
#   --service system    the same for the machine: to be run as root, the agent runs as --user
#   --user NAME         user of --service system (default realm, made where it is not there)
#   -- ARGUMENTS…       what the service gives to realm agent
#   --uninstall         remove executable, services, manual page and completions
#   --help              print this
#
# Exit status: 0 done, 1 failed, 2 wrong usage, 3 the digest or signature does not match, or nothing
# says whom to trust.
set -eu
umask 022

# ./dev release writes its key in here.
release_key=''

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

# Fetches URL to FILE, of BYTES at most; follows redirects, and none from https to http.
fetch() {
  if command -v curl >/dev/null 2>&1; then
    case "$1" in https:*) only='=https' ;; *) only='=http,https,file' ;; esac
    curl --fail --silent --show-error --location --proto-redir "$only" --proto "$only" \
      --max-filesize "$3" --max-time 1800 --output "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then
    # It cannot be told to stay with https where it is sent elsewhere, nor how much is too much.
    { wget --quiet --max-redirect=0 --output-document=- "$1" || : >"$2.failed"; } |
      head -c "$(($3 + 1))" >"$2"
    [ ! -e "$2.failed" ] && [ "$(wc -c <"$2")" -le "$3" ]
  else
    fail 1 "Cannot download: there is neither curl nor wget" "Download it yourself, then --from FILE"
  fi
}

# Prints a public key as openssl reads it (RFC 8410), in base64: ed25519:… is as realm writes it, in
# base58; anything else is taken for what openssl reads.
spki() {
  case "$1" in
    ed25519:*) ;;
    *) echo "$1" && return ;;
  esac
  bytes=$(echo "${1#ed25519:}" | LC_ALL=C awk '{
    for (i = 1; i <= length($0); i++) {
      digit = substr($0, i, 1)
      carry = index("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", digit) - 1
      if (carry < 0) exit
      for (at = 32; at > 0; at--) {
        carry += byte[at] * 58
        byte[at] = carry % 256
        carry = int(carry / 256)
      }
      if (carry > 0) exit
    }
    for (at = 1; i > 1 && at <= 32; at++) printf "\\%03o", byte[at]
  }')
  [ -n "$bytes" ] ||
    fail 2 "Cannot read --release-key: \"$1\" is not a key, wanted ed25519:… as ./dev release prints it"
  printf "\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000$bytes" | openssl base64 -A
}

# Checks that release_key has signed the file $work/SHA256SUMS in $work/SHA256SUMS.sig.
check_signature() {
  command -v openssl >/dev/null 2>&1 && openssl pkeyutl -help 2>&1 | grep -q rawin ||
    fail 1 "Cannot check the signature of the release: there is no openssl 3" \
      "Say what the sha256 must be with --sha256 DIGEST"
  public=$(spki "$release_key") || exit
  printf -- '-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n' "$public" >"$work/key"
  { printf 'realm/release/1\000' && cat "$work/SHA256SUMS"; } >"$work/message"
  while read -r _ signature; do
    printf %s "$signature" | openssl base64 -d -A >"$work/signature" 2>/dev/null || continue
    ! openssl pkeyutl -verify -pubin -inkey "$work/key" -rawin -in "$work/message" \
      -sigfile "$work/signature" >/dev/null 2>&1 || return 0
  done <"$work/SHA256SUMS.sig"
  fail 3 "Cannot trust the release: SHA256SUMS is not signed by $release_key" \
    "Nothing was installed; ask who released it"
}

# Whether what says that it is version A comes before B: by the three numbers, then as semver has
# pre-releases; nothing comes before what does not say.
is_before() {
  printf '%s\n' "$1" "$2" | LC_ALL=C awk '
    { if (!match($0, /^realm [0-9]+\.[0-9]+\.[0-9]+/)) exit
      split(substr($0, 7, RLENGTH - 6), number, ".")
      for (i = 1; i <= 3; i++) part[NR, i] = number[i] + 0
      rest = substr($0, RLENGTH + 1); sub(/[+].*/, "", rest)
      pre[NR] = sub(/^-/, "", rest) ? rest : ""; lines = NR }
    END {
      if (lines != 2) exit 1
      for (i = 1; i <= 3; i++) if (part[1, i] != part[2, i]) exit !(part[1, i] < part[2, i])
      if (pre[1] == "" || pre[2] == "") exit !(pre[1] != "" && pre[2] == "")
      left = split(pre[1], a, "."); right = split(pre[2], b, ".")
      for (i = 1; i <= left && i <= right; i++) {
        if (a[i] "" == b[i] "") continue
        first = a[i] ~ /^[0-9]+$/; second = b[i] ~ /^[0-9]+$/
        if (first && second) exit !(a[i] + 0 < b[i] + 0)
        if (first || second) exit !first
        exit !(a[i] "" < b[i] "")
      }
      exit !(left < right)
    }'
}

# Prints a word as a unit of systemd has it.
unit_word() {
  printf '"%s" ' "$(printf %s "$1" | sed 's/[\\"]/\\&/g; s/%/%%/g; s/\$/$$/g')"
}

# Prints a word as a property list has it.
plist_word() {
  printf '    <string>%s</string>\n' "$(printf %s "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g')"
}

# Prints the unit; reads kind, user, data and installed. ARGUMENTS are those of realm agent.
systemd_unit() {
  cat <<EOF
# Written by install.sh of realm; it is written anew by --service. What is yours goes into
# realm.service.d/*.conf beside it.
[Unit]
Description=realm agent
Documentation=man:realm(1)
StartLimitIntervalSec=0
EOF
  [ "$kind" = user ] || printf 'Wants=network-online.target\nAfter=network-online.target\n'
  printf '\n[Service]\nExecStart=%s\n' "$(for word in "$installed" --data "$data" agent "$@"; do unit_word "$word"; done)"
  cat <<EOF
Restart=always
RestartSec=2
TimeoutStopSec=60
LimitNOFILE=65536
# Keys and secrets are in memory.
LimitCORE=0
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service @pkey
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: V8 makes the code of components while they run.
EOF
  if [ "$kind" = system ]; then
    cat <<EOF
User=$user
StateDirectory=realm
StateDirectoryMode=0700
CapabilityBoundingSet=
AmbientCapabilities=
PrivateDevices=yes
DevicePolicy=closed
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
# Folders that policy.toml lets components mount need ReadWritePaths= or BindPaths= of yours.
ProtectSystem=strict
RemoveIPC=yes
EOF
    printf '\n[Install]\nWantedBy=multi-user.target\n'
  else
    # The rest would want namespaces, which not every system lets its users have.
    printf '\n[Install]\nWantedBy=default.target\n'
  fi
}

# Prints the property list; reads as systemd_unit does.
launchd_plist() {
  cat <<EOF
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by install.sh of realm; it is written anew by its option for services. -->
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>dev.realm.agent</string>
  <key>ProgramArguments</key>
  <array>
EOF
  for word in "$installed" --data "$data" agent "$@"; do plist_word "$word"; done
  printf '  </array>\n'
  [ "$kind" = user ] || printf '  <key>UserName</key>\n%s\n' "$(plist_word "$user")"
  cat <<EOF
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <true/>
  <key>ThrottleInterval</key>
  <integer>2</integer>
  <key>ExitTimeOut</key>
  <integer>60</integer>
  <key>Umask</key>
  <integer>63</integer>
  <key>HardResourceLimits</key>
  <dict>
    <key>Core</key>
    <integer>0</integer>
  </dict>
  <key>SoftResourceLimits</key>
  <dict>
    <key>NumberOfFiles</key>
    <integer>65536</integer>
  </dict>
  <key>StandardErrorPath</key>
EOF
  plist_word "$data/agent.log"
  printf '</dict>\n</plist>\n'
}

# Says where the service of $kind is written down: sets manager and file.
service_place() {
  if [ "$(uname -s)" = Darwin ]; then
    manager=launchd
    case "$kind" in
      user) file=${HOME:-}/Library/LaunchAgents/dev.realm.agent.plist domain=gui/$(id -u) ;;
      system) file=${DESTDIR:-}/Library/LaunchDaemons/dev.realm.agent.plist domain=system ;;
    esac
  else
    manager=systemd
    case "$kind" in
      user) file=${XDG_CONFIG_HOME:-${HOME:-}/.config}/systemd/user/realm.service ;;
      system) file=${DESTDIR:-}/etc/systemd/system/realm.service ;;
    esac
  fi
}

# systemctl for services of $kind.
control() {
  if [ "$kind" = user ]; then systemctl --user "$@"; else systemctl "$@"; fi
}

is_ours() {
  [ -f "$1" ] && grep -q 'Written by install.sh of realm' "$1"
}

# Before anything is installed: whether the service can be made.
check_service() {
  service_place
  if [ "$kind" = system ]; then
    [ "$(id -u)" = 0 ] || fail 1 "Cannot make a service of the system: this is not root" \
      "Run it by sudo, or make one of your own by --service user"
    [ "$manager" = systemd ] || id "$user" >/dev/null 2>&1 ||
      fail 1 "Cannot make a service of the system: there is no user $user" "Name one with --user NAME"
  fi
  [ "$manager" = launchd ] || command -v systemctl >/dev/null 2>&1 ||
    fail 1 "Cannot make a service: there is neither systemd nor launchd" \
      "Let what starts programs on this machine run: $installed agent"
  [ ! -e "$file" ] || is_ours "$file" ||
    fail 1 "Cannot write $file: it is not ours" "Move it away"
}

# Writes the service and starts it; ARGUMENTS are those of realm agent.
make_service() {
  case "$kind" in user) data=$HOME/.realm ;; system) data=/var/lib/realm ;; esac
  mkdir -p "$(dirname "$file")"
  if [ "$manager" = systemd ]; then
    if [ "$kind" = system ] && ! id "$user" >/dev/null 2>&1; then
      useradd --system --home-dir "$data" --shell /usr/sbin/nologin "$user"
    fi
    systemd_unit "$@" >"$file"
    control daemon-reload && control enable realm.service && control restart realm.service || {
      echo "wrote $file" >&2
      fail 1 "Cannot start the service: systemctl does not take it here" \
        "Log in as that user, then: systemctl --user enable --now realm.service"
    }
    [ "$kind" = system ] ||
      echo "hint: so that it runs while you are not logged in: loginctl enable-linger" >&2
  else
    [ "$kind" = user ] || install -d -m 700 -o "$user" "$data"
    [ "$kind" = system ] || mkdir -p -m 700 "$data"
    launchd_plist "$@" >"$file"
    launchctl bootout "$domain/dev.realm.agent" 2>/dev/null || :
    launchctl bootstrap "$domain" "$file" || fail 1 "Cannot start the service $file"
  fi
  echo "started the service of $file"
}

# Stops and removes the services that --service made, where this user may.
remove_services() {
  for kind in user system; do
    service_place
    is_ours "$file" || continue
    [ -w "$(dirname "$file")" ] || {
      echo "hint: $file stays: remove it as root by sh install.sh --uninstall" >&2
      continue
    }
    if [ "$manager" = systemd ]; then
      control disable --now realm.service 2>/dev/null || :
      rm -f "$file"
      control daemon-reload 2>/dev/null || :
    else
      launchctl bootout "$domain/dev.realm.agent" 2>/dev/null || :
      rm -f "$file"
    fi
    echo "removed $file"
  done
}

# Whether the service of $file starts what is installed here, not what is installed elsewhere.
starts_installed() {
  if [ "$manager" = systemd ]; then
    grep -qF "ExecStart=$(unit_word "$installed")" "$file"
  else
    grep -qxF "$(plist_word "$installed")" "$file"
  fi
}

# After an upgrade: what runs is still the one before.
restart_services() {
  for kind in user system; do
    service_place
    is_ours "$file" && starts_installed || continue
    if [ "$manager" = systemd ]; then
      control try-restart realm.service 2>/dev/null || {
        echo "hint: the agent runs the version before: restart realm.service" >&2
        continue
      }
    else
      launchctl kickstart -k "$domain/dev.realm.agent" 2>/dev/null || :
    fi
    echo "restarted the service of $file"
  done
}

# What comes with the executable, by its own account: sets nothing, prints FILE<tab>WORDS.
extras() {
  share=$prefix/share
  printf '%s\t%s\n' \
    "$share/man/man1/realm.1" "man" \
    "$share/bash-completion/completions/realm" "completions bash" \
    "$share/zsh/site-functions/_realm" "completions zsh" \
    "$share/fish/vendor_completions.d/realm.fish" "completions fish"
}

# Writes them; a version that has none of it is no failure.
write_extras() {
  extras | while IFS='	' read -r file words; do
    mkdir -p "$(dirname "$file")" 2>/dev/null || continue
    # Two words: the command and its shell.
    if "$installed" $words >"$file.new" 2>/dev/null; then
      mv -f "$file.new" "$file"
    else
      rm -f "$file.new"
    fi
  done
}

# Keeps other upgrades of the executable away, as realm upgrade does, until this ends: a lock on
# $installed.lock, where there is flock(1).
take_lock() {
  command -v flock >/dev/null 2>&1 || return 0
  while :; do
    (umask 077 && : >>"$installed.lock") 2>/dev/null || fail 1 "Cannot write $installed.lock"
    exec 9>>"$installed.lock"
    status=0
    flock -n 9 || status=$?
    # Any other status: no such locks on this file system.
    [ $status -ne 1 ] || fail 1 "Cannot change $installed: another upgrade runs" \
      "Wait until it is done, then look at realm --version"
    # One that has just ended removed its file between our opening and locking it.
    [ -e /dev/fd/9 ] && [ ! "$installed.lock" -ef /dev/fd/9 ] || break
  done
  lock=$installed.lock
}

# One function, called on the last line: a download that breaks off does nothing.
main() {
  from= digest= prefix= uninstall= kind= user=realm downgrade= lock= work=
  releases=${REALM_RELEASES:-}
  while [ $# -gt 0 ]; do
    case "$1" in
      --from | --sha256 | --releases | --release-key | --prefix | --service | --user)
        [ $# -ge 2 ] && [ -n "$2" ] || fail 2 "Cannot read $1: nothing follows, wanted a value"
        case "$1" in
          --from) from=$2 ;;
          --sha256) digest=$2 ;;
          --releases) releases=$2 ;;
          --release-key) release_key=$2 ;;
          --prefix) prefix=$2 ;;
          --service) kind=$2 ;;
          --user) user=$2 ;;
        esac
        shift 2
        ;;
      --uninstall) uninstall=yes && shift ;;
      --downgrade) downgrade=yes && shift ;;
      --help | -h) usage && exit 0 ;;
      --) shift && break ;;
      *) fail 2 "Cannot read $1: not an option" "sh install.sh --help lists them" ;;
    esac
  done
  case "$kind" in
    '') [ $# -eq 0 ] || fail 2 "Cannot read $1: there is no service to give it to" "Add --service user" ;;
    user | system) ;;
    *) fail 2 "Cannot read --service: \"$kind\", wanted user or system" ;;
  esac

  if [ -z "$prefix" ] && [ "$kind" = system ]; then
    prefix=/usr/local
  elif [ -z "$prefix" ]; then
    [ -n "${HOME:-}" ] || fail 2 "Cannot choose a folder: HOME is not set" "Name one with --prefix DIR"
    prefix=$HOME/.local
  fi
  bin=$prefix/bin
  installed=$bin/realm
  # The lock's file goes while the lock is held.
  trap '[ -z "$work" ] || rm -rf "$work"; [ -z "$lock" ] || rm -f "$lock"' EXIT
  trap 'exit 1' HUP INT TERM

  if [ -n "$uninstall" ]; then
    [ -e "$installed" ] || fail 1 "Cannot uninstall $installed: it is not there"
    [ ! -w "$bin" ] || take_lock
    remove_services
    extras | while IFS='	' read -r file _; do rm -f "$file"; done
    rm -f "$installed" "$installed.old" "$installed.lock"
    echo "removed $installed (data in ~/.realm stays)"
    exit 0
  fi

  [ -z "$kind" ] || check_service
  mkdir -p "$bin" 2>/dev/null || fail 1 "Cannot make the folder $bin" "Choose another with --prefix DIR"
  [ -w "$bin" ] || fail 1 "Cannot write to $bin" "Choose another folder with --prefix DIR; root is not needed"
  take_lock
  # Beside its place, so that the move at the end is atomic and the old one runs on.
  work=$(mktemp -d "$bin/.realm.XXXXXX") || fail 1 "Cannot write to $bin"

  if [ -n "$from" ]; then
    [ -f "$from" ] || fail 1 "Cannot install $from: there is no such file" "Build it with ./dev build"
    cp "$from" "$work/realm"
    what=$from
    if [ -z "$digest" ]; then
      [ -f "$from.sha256" ] ||
        fail 1 "Cannot verify $from: $from.sha256 is not there" "Say what it must be with --sha256 DIGEST"
      digest=$(head -n 1 "$from.sha256" | cut -d' ' -f1)
    fi
  else
    [ -n "$releases" ] ||
      fail 2 "Cannot download realm: no address of releases, wanted --releases URL or REALM_RELEASES" \
        "Or install a build of your own with --from FILE"
    name=realm-$(target)
    what=${releases%/}/$name
    if [ -z "$digest" ]; then
      case "${release_key:+signed}$releases" in
        signed* | https://* | file://*) ;;
        *) fail 3 "Cannot trust $releases: nothing says what comes from there, wanted https" \
          "Say who signs releases with --release-key KEY, or what the sha256 must be with --sha256 DIGEST" ;;
      esac
      for each in SHA256SUMS ${release_key:+SHA256SUMS.sig}; do
        fetch "${releases%/}/$each" "$work/$each" 65536 || fail 1 "Cannot download ${releases%/}/$each"
      done
      [ -z "$release_key" ] || check_signature
      digest=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$name\$/\1/p" "$work/SHA256SUMS")
      [ -n "$digest" ] || fail 1 "Cannot install $what: the release has none for this machine"
    fi
    fetch "$what" "$work/realm" 536870912 || fail 1 "Cannot download $what"
  fi

  case "$digest" in
    *[!0-9a-fA-F]* | '') fail 3 "Cannot verify $what: \"$digest\" is not a sha256" ;;
  esac
  [ ${#digest} -eq 64 ] || fail 3 "Cannot verify $what: \"$digest\" is not a sha256"
  want=$(echo "$digest" | tr 'A-F' 'a-f')
  got=$(sha256_of "$work/realm")
  [ "$got" = "$want" ] || fail 3 "Cannot install $what: its sha256 is $got, wanted $want" \
    "Nothing was installed; download it again, and if it stays so do not run it"

  chmod 755 "$work/realm"
  version=$("$work/realm" --version 2>/dev/null) ||
    fail 1 "Cannot install $what: it does not run on this machine ($(uname -sm))"
  before= verb=upgraded
  if [ -e "$installed" ]; then
    before=$("$installed" --version 2>/dev/null) || before="what was there"
    if is_before "$version" "$before"; then
      [ -n "$downgrade" ] || fail 1 "Cannot install $version: $installed is $before, a later one" \
        "Add --downgrade if that is what you want"
      verb=downgraded
    fi
    ln -f "$installed" "$installed.old" 2>/dev/null || cp -p "$installed" "$installed.old"
  fi
  mv -f "$work/realm" "$installed"
  write_extras
  if [ -n "$before" ]; then
    echo "$verb $before to $version in $installed, the one before is $installed.old"
  else
    echo "installed $version to $installed"
  fi
  if [ -n "$kind" ]; then
    make_service "$@"
  elif [ -n "$before" ]; then
    restart_services
  fi
  case ":${PATH:-}:" in
    *":$bin:"*) ;;
    *) echo "hint: $bin is not on your PATH; add this line to your shell's profile:" >&2
      echo "  export PATH=\"$bin:\$PATH\"" >&2 ;;
  esac
}

main "$@"
