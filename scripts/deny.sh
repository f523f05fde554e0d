#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies; advisories too where their database can be
# reached.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
tools="${AOS_CACHE_DIR:-$HOME/.cache/autonomos}/tools"
deny="$tools/bin/cargo-deny"
if [ ! -x "$deny" ]; then
  echo "setup: installing cargo-deny $version" >&2
  # Optimising it would cost more than it saves: it runs for seconds.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_TARGET_DIR="$tools/target" RUSTFLAGS="" \
    cargo install --quiet --locked --root "$tools" --version "$version" cargo-deny
  rm -rf "$tools/target"
fi
"$deny" --log-level error --all-features check bans licenses sources
"$deny" --log-level error --config deny.toml --manifest-path tests/beside/Cargo.toml check bans licenses sources
if "$deny" --log-level off fetch db >/dev/null 2>&1; then
  "$deny" --log-level error check --disable-fetch advisories
else
  echo "deny: the advisory database cannot be reached from here; licences, bans and sources are checked"
fi
