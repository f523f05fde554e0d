#!/usr/bin/env bash
# Builds the screen when its sources are newer than what was built.
set -euo pipefail
cd "$(dirname "$0")/../frontend"
stamp="$(cat package-lock.json | sha256sum | cut -d' ' -f1)"
if [ "$(cat node_modules/.stamp 2>/dev/null || true)" != "$stamp" ]; then
  echo "setup: installing the frontend's packages" >&2
  npm ci --silent --no-audit --no-fund --no-progress
  echo "$stamp" > node_modules/.stamp
fi
if [ ! -d dist/assets ] || [ -n "$(find src index.html vite.config.ts package-lock.json -newer dist/index.html -print -quit)" ]; then
  npm run --silent build
  touch dist/index.html
fi
