#!/usr/bin/env bash
# Packs what a GPU machine without a package registry needs beside this checkout: Node.js with its headers, and the installed packages
# that tests and benchmarks use. Writes out/gpu/kit.tar.xz; run it where `npm run build` has been run, for the same processor architecture.
set -euo pipefail
cd "$(dirname "$0")/../.."
kit=$(mktemp -d)
trap 'rm -rf "$kit"' EXIT

node=$(readlink -f "$(command -v node)")
prefix=$(dirname "$(dirname "$node")")
headers=${NODE_HEADERS:-$prefix/include/node}
[ -f "$headers/node_api.h" ] || { echo "node_api.h is not in $headers: set NODE_HEADERS to the folder of Node's headers"; exit 1; }
mkdir -p "$kit/node/bin" "$kit/node/include"
cp "$node" "$kit/node/bin/node"
cp -RL "$headers" "$kit/node/include/node"

mkdir -p out/gpu
# Compilers, linters and what belongs to other systems stay behind.
find . \( -name node_modules -o -name dist \) -prune -print | grep -v '^./out' | sort > "$kit/list"
XZ_OPT=${XZ_OPT:--T0 -4} tar --create --xz --file out/gpu/kit.tar.xz \
  --exclude='*typescript-linux*' --exclude='*/typescript@*' --exclude='*oxlint*' --exclude='*oxfmt*' --exclude='*turbo*' \
  --exclude='*prettier*' --exclude='*changesets*' --exclude='node_modules/.cache' --exclude='*-musl*' --exclude='*.darwin-*' \
  --exclude='*.win32-*' --exclude='*.android-*' --exclude='*.linux-arm*' --exclude='*.freebsd-*' \
  --directory "$kit" node --directory "$PWD" --files-from "$kit/list"
ls -l out/gpu/kit.tar.xz
