#!/usr/bin/env bash
# What run.sh does on a GPU machine, rehearsed without a GPU: packs Node.js and the installed packages (pack.sh), unpacks them with this checkout
# in a folder of its own, where no other node is used, builds there (with nvcc where it is found: PATH, CUDA_HOME, FMS_ACCEL_NVCC), and runs
# tests and benchmarks on the emulated device. Their figures, which mean nothing, go to packages-private/benchmarks/refs there.
#   bash scripts/gpu/rehearse.sh [steps of run.sh]     after npm run build; REHEARSAL=folder keeps the folder
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${REHEARSAL:-$(mktemp -d)}
[ -n "${REHEARSAL:-}" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
bash scripts/gpu/pack.sh
# Files of the checkout, those that git does not know yet included: what a copy of the working tree holds.
git ls-files --cached --others --exclude-standard -z | xargs -0 ls -d 2> /dev/null | tar --create --files-from - |
  tar --extract --directory "$folder"
mkdir -p "$folder/out/gpu"
cp out/gpu/kit.tar.xz "$folder/out/gpu"
cd "$folder"
FMS_ACCEL_CUDA_EMULATOR=1 REFS=packages-private/benchmarks/refs bash scripts/gpu/run.sh "$@"
ls -l packages-private/benchmarks/refs/gpu-cuda-emulator*
