#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, nvcc, g++ and cmake, in a checkout that has out/gpu/kit.tar.xz (scripts/gpu/pack.sh); no registry is needed:
#   bash scripts/gpu/run.sh [build] [test] [sanitize] [bench]     all of them by default
# Figures go to packages-private/benchmarks/refs/gpu-<device>.csv, and to $OUT as well where that is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${*:-build test sanitize bench}
if [ -f out/gpu/kit.tar.xz ] && [ ! -d out/gpu/node ]; then
  tar --extract --file out/gpu/kit.tar.xz --exclude=node
  tar --extract --file out/gpu/kit.tar.xz --directory out/gpu node
fi
[ -d out/gpu/node ] && export PATH="$PWD/out/gpu/node/bin:$PATH" npm_config_nodedir="$PWD/out/gpu/node"
device=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
[ "$capability" = 90 ] && capability=90a
echo "device: $device (compute capability $capability), node $(node --version)"

build() {
  (cd packages/tensor && node node_modules/cmake-js/bin/cmake-js build --CDCMAKE_BUILD_TYPE=Release --CDFMS_ACCEL_CUDA=on \
    "--CDFMS_ACCEL_CUDA_ARCHITECTURES=$capability" -l warn -p "$(nproc)")
  ls -l packages/tensor/build/Release/fms_accel_tensor.node
}
vitest() { node node_modules/vitest/vitest.mjs run --maxWorkers=4 "$@"; }
test_() {
  FMS_ACCEL_TEST_DEVICE=cuda vitest packages/tensor/test packages/models/test/architectures packages/models/test/layers \
    packages/models/test/rope packages/models/test/peft packages/models/test/generation packages/trainer/test/training/curves.test.ts
}
# One test process under each tool; the kernels of every operation run in these files.
sanitize() {
  for tool in memcheck racecheck synccheck; do
    echo "compute-sanitizer --tool $tool"
    FMS_ACCEL_TEST_DEVICE=cuda compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 --print-limit 20 \
      node node_modules/vitest/vitest.mjs run --maxWorkers=1 --testTimeout=600000 packages/tensor/test/attention.test.ts \
      packages/tensor/test/matmul.test.ts packages/tensor/test/softmax.test.ts packages/tensor/test/indexing.test.ts \
      packages/tensor/test/cross-entropy.test.ts packages/tensor/test/adamw.test.ts packages/tensor/test/random.test.ts
  done
}
bench() {
  name=$(echo "$device" | tr ' A-Z' '-a-z')
  csv=packages-private/benchmarks/refs/gpu-$name.csv
  node packages/tensor/bench/cuda.mjs --csv "$csv"
  for shape in 135m 1b-4l; do
    node packages-private/benchmarks/src/train-step.mjs --device cuda --shape "$shape" --dtype bfloat16 --lengths 512,512,512,512 --steps 10
    if python3 -c 'import peft' 2>/dev/null; then
      python3 packages-private/benchmarks/peer/train_step.py --device cuda --shape "$shape" --method lora --dtype bfloat16 \
        --lengths 512,512,512,512 --steps 10
    fi
  done | tee "${csv%.csv}-training.jsonl"
  if [ -n "${OUT:-}" ]; then cp "$csv" "${csv%.csv}-training.jsonl" "$OUT"; fi
}
for step in $steps; do
  echo "== $step"
  case $step in
  build) build ;;
  test) test_ ;;
  sanitize) sanitize ;;
  bench) bench ;;
  *) echo "unknown step $step: expected build, test, sanitize or bench"; exit 2 ;;
  esac
done
