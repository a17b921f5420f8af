#include "engine/cpu_count.h"

#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>

#ifdef __linux__
#include <sched.h>
#endif

namespace fms_accel {
namespace {

#ifdef __linux__
// Cores as (package, core) pairs; a processor whose topology is not told counts as a core of its
// own.
int cores_in_affinity_mask() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return 0;
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    int package = -1, core = cpu;
    std::ifstream package_file(folder + "physical_package_id"), core_file(folder + "core_id");
    if (!(package_file >> package) || !(core_file >> core)) package = -1, core = cpu;
    cores.emplace(package, core);
  }
  return static_cast<int>(cores.size());
}

// Processors' worth of time that control group v2 grants, or 0 where it sets no limit.
double control_group_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::stod(quota) / period;
}
#endif

}  // namespace

int available_cores() {
  int cores = 0;
#ifdef __linux__
  cores = cores_in_affinity_mask();
  const double quota = control_group_quota();
  if (quota > 0 && cores > quota) cores = static_cast<int>(std::ceil(quota));
#endif
  if (cores < 1) cores = static_cast<int>(std::thread::hardware_concurrency());
  return cores < 1 ? 1 : cores;
}

}  // namespace fms_accel
