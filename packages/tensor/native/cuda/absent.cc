// The cuda device of a build without CUDA: it can say so, and nothing else.
#include "cuda/device.h"
#include "cuda/groups.h"
#include "engine/error.h"

namespace fms_accel::cuda {
namespace {

constexpr const char* kProblem =
    "this build has no CUDA: install nvcc 13 (on PATH, in CUDA_HOME, or by pip) and build again "
    "with `npm run build:native`";

[[noreturn]] void refuse() { fail("device cuda is not available: ", kProblem); }

}  // namespace

Status probe() {
  Status status;
  status.build = "none";
  status.problem = kProblem;
  return status;
}
void require_device(int) { refuse(); }
const Kernels& kernels(int) { refuse(); }
void* stream(int) { refuse(); }
void* allocate(int, size_t) { refuse(); }
void release(int, void*, size_t) {}
MemoryStatistics memory_statistics(int) { refuse(); }
WorkStatistics work_statistics(int) { refuse(); }
void reset_peak(int) { refuse(); }
void release_cached(int) { refuse(); }
void copy(void*, Device, const void*, Device, size_t) { refuse(); }
void synchronize(int) { refuse(); }
int64_t begin_capture(int, int64_t, const void*) { refuse(); }
OutsideOfGraphs::OutsideOfGraphs() {}
OutsideOfGraphs::~OutsideOfGraphs() {}
GraphStatistics end_capture(int) { refuse(); }
void abort_capture(int) { refuse(); }
void launch_graph(int, int64_t) { refuse(); }
void release_graph(int, int64_t) { refuse(); }
void provoke_fault(int) { refuse(); }
void check_indices(int, const int64_t*, int64_t, int64_t*, const IndexCheck&) { refuse(); }
fms_accel_device_record* plugin_record(int, const char*) { refuse(); }
void plugin_launched(int) { refuse(); }
void matmul_groups(const GroupedMatmul&) { refuse(); }
void group_rows(const int64_t*, int64_t, int64_t, int64_t*, int64_t*) { refuse(); }

}  // namespace fms_accel::cuda
