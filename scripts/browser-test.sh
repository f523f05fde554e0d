#!/usr/bin/env bash
# Starts a demo server on a free loopback port in a temporary folder, runs the browser tests against
# it, and ends it by its own process id.
set -euo pipefail
cd "$(dirname "$0")/.."
chromium="${CHROMIUM_PATH:-/usr/bin/chromium}"
if [ ! -x "$chromium" ]; then
  echo "setup: installing chromium" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1 \
    || { echo "browser-test: \`$chromium\` is missing and could not be installed: install Chromium and set CHROMIUM_PATH" >&2; exit 1; }
fi
cargo build --workspace --all-targets --locked --quiet
binary="${CARGO_TARGET_DIR:-${AOS_CACHE_DIR:-$HOME/.cache/autonomos}/target}/debug/autonomos"
folder="$(mktemp -d)"
server=""
finish() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  rm -rf "$folder"
}
trap finish EXIT
"$binary" demo --json --data-dir "$folder/data" --listen 127.0.0.1:0 >"$folder/out" 2>"$folder/log" &
server=$!
# The server says when it is ready; until then it is either working or gone.
until grep -q '"ready"' "$folder/out"; do
  kill -0 "$server" 2>/dev/null || { echo "browser-test: the demo server ended:" >&2; tail -40 "$folder/log" >&2; exit 1; }
  read -r -t 0.2 <> <(:) || true
done
read_field() { python3 -c "import json,sys
for line in open(sys.argv[1]):
    event = json.loads(line)
    if event.get('event') == 'ready': print(event[sys.argv[2]])" "$folder/out" "$1"; }
export AOS_URL="$(read_field url)" AOS_EMAIL="$(read_field email)" AOS_PASSWORD="$(read_field password)"
export CHROMIUM_PATH="$chromium" AOS_SCREENSHOTS="${AOS_SCREENSHOTS:-$folder/screenshots}"
cd frontend && node --test e2e/
