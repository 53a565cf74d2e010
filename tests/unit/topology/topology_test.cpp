#include "agent/topology/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwloc.h>
#include <sys/stat.h>

#include <string>

#include "agent/core/text.h"
#include "tests/unit/topology/fixture.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Message(const absl::StatusOr<Machine>& machine) { return std::string(machine.status().message()); }

// What hwloc exports for a synthetic machine; `allowed`, where given, are the CPUs the exporter may use.
std::string ExportXml(const std::string& synthetic, const char* allowed = nullptr) {
  hwloc_topology_t topology = nullptr;
  hwloc_topology_init(&topology);
  hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  EXPECT_EQ(hwloc_topology_set_synthetic(topology, synthetic.c_str()), 0);
  EXPECT_EQ(hwloc_topology_load(topology), 0);
  if (allowed != nullptr) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    hwloc_bitmap_list_sscanf(set, allowed);
    EXPECT_EQ(hwloc_topology_allow(topology, set, nullptr, HWLOC_ALLOW_FLAG_CUSTOM), 0);
    hwloc_bitmap_free(set);
  }
  char* buffer = nullptr;
  int length = 0;
  EXPECT_EQ(hwloc_topology_export_xmlbuffer(topology, &buffer, &length, 0), 0);
  std::string xml(buffer, static_cast<size_t>(length) - 1);
  hwloc_free_xmlbuffer(topology, buffer);
  hwloc_topology_destroy(topology);
  return xml;
}

std::string Replace(std::string text, std::string_view what, std::string_view with) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return at == std::string::npos ? text : text.replace(at, what.size(), with);
}

TEST(Synthetic, IsReadWhole) {
  const absl::StatusOr<Machine> machine = LoadMachine("numa:2 l3:1 core:6 pu:2");
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->name, "numa:2 l3:1 core:6 pu:2");
  ASSERT_EQ(machine->nodes.size(), 2u);
  EXPECT_EQ(machine->Cpus(), CpuSet::Range(0, 23));
  EXPECT_TRUE(machine->offline.empty());
  const NumaNode& second = machine->nodes[1];
  EXPECT_EQ(second.id, 1);
  EXPECT_EQ(second.memory, uint64_t{1} << 30);
  EXPECT_EQ(second.distances, (std::vector<uint64_t>{20, 10}));
  EXPECT_TRUE(second.hugepages.empty());
  ASSERT_EQ(second.cores.size(), 6u);
  EXPECT_EQ(second.cores[0], (Core{0, 1, {12, 13}}));
}

TEST(Synthetic, TakesMemoryPackagesAndIndexes) {
  const absl::StatusOr<Machine> machine =
      LoadMachine("package:2 [numa(memory=24GiB)] core:2 pu:2(indexes=0,4,1,5,2,6,3,7)");
  ASSERT_TRUE(machine.ok()) << machine.status();
  ASSERT_EQ(machine->nodes.size(), 2u);
  EXPECT_EQ(machine->nodes[0].memory, uint64_t{24} << 30);
  EXPECT_EQ(machine->nodes[0].cores, (std::vector<Core>{{0, {}, {0, 4}}, {0, {}, {1, 5}}}));
  EXPECT_EQ(machine->nodes[1].cores, (std::vector<Core>{{1, {}, {2, 6}}, {1, {}, {3, 7}}}));
}

TEST(Synthetic, ACpuWithoutACoreIsItsOwn) {
  const absl::StatusOr<Machine> machine = LoadMachine("numa:1 pu:3");
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->nodes[0].cores, (std::vector<Core>{{0, {}, {0}}, {0, {}, {1}}, {0, {}, {2}}}));
}

TEST(Synthetic, SaysWhatIsWrong) {
  const absl::StatusOr<Machine> unknown = LoadMachine("numa:2 sock:1");
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(unknown), StartsWith("machine \"numa:2 sock:1\", read as a synthetic string: "));
  EXPECT_THAT(Message(unknown), HasSubstr("it says: Synthetic string"));
  EXPECT_THAT(Message(unknown), HasSubstr("a machine is live, the path of an hwloc XML file"));
}

TEST(Synthetic, IsBounded) {
  for (const char* large : {"pu:8193", "numa:2 core:100000000 pu:2", "4096 0x4", "99999999999999999999 2",
                            "core:91(memory=1) pu:91", "[numa] core:91 pu:91"}) {
    EXPECT_THAT(Message(LoadMachine(large)), HasSubstr("describes more than 8192 CPUs")) << large;
  }
  EXPECT_THAT(Message(LoadMachine(std::string(5000, '1'))), HasSubstr("is longer than 4096 bytes"));
  const absl::StatusOr<Machine> full = LoadMachine("numa:8 core:512 pu:2");
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->Cpus().size(), 8192);
  EXPECT_THAT(Message(LoadMachine("numa:65 pu:1")), HasSubstr("NUMA node 64 is above 63"));
}

TEST(Xml, ReadsBackWhatHwlocExported) {
  const std::string synthetic = "package:2 numa:2(memory=8GiB) l3:1 core:3 pu:2";
  TempDir directory;
  const std::string path = directory.Write("machine.xml", ExportXml(synthetic));
  std::string notes = "old";
  LoadOptions options;
  options.notes = &notes;
  const absl::StatusOr<Machine> machine = LoadMachine(path, options);
  ASSERT_TRUE(machine.ok()) << machine.status();
  const absl::StatusOr<Machine> expected = LoadMachine(synthetic);
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_EQ(machine->nodes, expected->nodes);
  EXPECT_EQ(machine->name, path);
  EXPECT_EQ(notes, "");
}

TEST(Xml, TakesDistancesAndHugePages) {
  std::string xml = ExportXml("numa:2(memory=8GiB) core:2 pu:1");
  const size_t node = xml.find("type=\"NUMANode\"");
  const size_t page_type = xml.find("<page_type ", node);
  ASSERT_NE(page_type, std::string::npos) << xml;
  xml.insert(page_type, "<page_type size=\"2097152\" count=\"512\"/><page_type size=\"1073741824\" count=\"1\"/>");
  xml = Replace(xml, "</topology>",
                "<distances2 type=\"NUMANode\" nbobjs=\"2\" kind=\"5\" indexing=\"os\">\n"
                "<indexes length=\"4\">0 1 </indexes>\n<u64values length=\"12\">10 21 31 11 </u64values>\n"
                "</distances2>\n</topology>");
  TempDir directory;
  const absl::StatusOr<Machine> machine = LoadMachine(directory.Write("machine.xml", xml));
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->nodes[0].distances, (std::vector<uint64_t>{10, 21}));
  EXPECT_EQ(machine->nodes[1].distances, (std::vector<uint64_t>{31, 11}));
  EXPECT_EQ(machine->nodes[0].hugepages, (std::vector<HugePages>{{2048, 512}, {1048576, 1}}));
}

TEST(Xml, DeniedCpusAreOffline) {
  TempDir directory;
  const absl::StatusOr<Machine> machine =
      LoadMachine(directory.Write("machine.xml", ExportXml("numa:2 core:2 pu:2", "0-1,3-6")));
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->Cpus().ToString(), "0-1,3-6");
  EXPECT_EQ(machine->offline.ToString(), "2,7");
  EXPECT_EQ(machine->nodes[0].cores[1], (Core{0, {}, {3}}));
}

TEST(Xml, BrokenFilesNameFileAndLine) {
  TempDir directory;
  const std::string xml = ExportXml("numa:1 core:2 pu:2");
  const std::string cut = directory.Write("cut.xml", xml.substr(0, xml.size() / 2));
  EXPECT_THAT(Message(LoadMachine(cut)), StartsWith(Cat("machine \"", cut, "\", read as an hwloc XML file: line ")));
  EXPECT_THAT(Message(LoadMachine(cut)), HasSubstr("it is cut short"));
  EXPECT_THAT(Message(LoadMachine(cut)), Not(HasSubstr("a machine is live")));

  const std::string domain = directory.Write("domain.xml", "<domain type='kvm'/>");
  EXPECT_THAT(Message(LoadMachine(domain)), HasSubstr("line 1: <domain> where <topology> is expected"));
  const std::string empty = directory.Write("none.xml", "<topology version=\"2.0\">\n</topology>\n");
  EXPECT_THAT(Message(LoadMachine(empty)), HasSubstr("hwloc refuses it"));
  const std::string large = directory.Write("large.xml", std::string((size_t{16} << 20) + 1, ' '));
  EXPECT_THAT(Message(LoadMachine(large)), HasSubstr("is larger than 16 MiB"));

  const absl::StatusOr<Machine> missing = LoadMachine(directory.path() + "/missing");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(missing), HasSubstr("open: No such file or directory; a machine is live"));
  EXPECT_THAT(Message(LoadMachine(directory.path())), HasSubstr("is no regular file"));
  const std::string fifo = directory.path() + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(Message(LoadMachine(fifo)), HasSubstr("is no regular file"));
}

// Whatever a file holds, the answer is a valid machine or an error: hwloc's crashes stay in the child.
TEST(Xml, DamagedFilesNeverHarmTheReader) {
  const std::string xml = ExportXml("package:2 numa:1 l3:1 core:2 pu:2");
  TempDir directory;
  const char* const values[] = {"-1", "4294967295", "0xf...f", "99999999", "Machine", "PU", ",,,,", ""};
  int refused = 0;
  for (size_t at = xml.find("=\""); at != std::string::npos; at = xml.find("=\"", at + 2)) {
    const size_t end = xml.find('"', at + 2);
    std::string damaged = xml;
    damaged.replace(at + 2, end - at - 2, values[at % std::size(values)]);
    const absl::StatusOr<Machine> machine = LoadMachine(directory.Write("machine.xml", damaged));
    if (machine.ok()) {
      EXPECT_TRUE(ValidateMachine(*machine).ok());
    } else {
      EXPECT_THAT(Message(machine), HasSubstr("machine.xml\", read as an hwloc XML file: "));
      ++refused;
    }
  }
  EXPECT_GT(refused, 10);
}

// A machine's /sys as literals: two nodes of two cores with two threads, one thread offline, 4 pages of 1 GiB.
class LiveTest : public ::testing::Test {
 protected:
  LiveTest() {
    Write("cpu/online", "0-4,6-7\n");
    for (int cpu = 0; cpu < 8; ++cpu) {
      const int core = cpu % 4;
      const int package = core / 2;
      const std::string directory = Cat("cpu/cpu", cpu, "/");
      Write(directory + "topology/core_id", Cat(core, "\n"));
      Write(directory + "topology/physical_package_id", Cat(package, "\n"));
      Write(directory + "topology/core_cpus", core == 1 ? "02\n" : Mask({core, core + 4}));
      Write(directory + "topology/package_cpus", package == 0 ? Mask({0, 1, 4}) : Mask({2, 3, 6, 7}));
      Write(directory + "cache/index3/level", "3\n");
      Write(directory + "cache/index3/type", "Unified\n");
      Write(directory + "cache/index3/size", "1024K\n");
      Write(directory + "cache/index3/shared_cpu_map", package == 0 ? Mask({0, 1, 4}) : Mask({2, 3, 6, 7}));
    }
    Write("node/online", "0-1\n");
    for (int node = 0; node < 2; ++node) {
      const std::string directory = Cat("node/node", node, "/");
      Write(directory + "cpumap", node == 0 ? Mask({0, 1, 4}) : Mask({2, 3, 6, 7}));
      Write(directory + "meminfo", Cat("Node ", node, " MemTotal:       25165824 kB\n"));
      Write(directory + "distance", node == 0 ? "10 21\n" : "21 10\n");
      Write(directory + "hugepages/hugepages-2048kB/nr_hugepages", "0\n");
      Write(directory + "hugepages/hugepages-1048576kB/nr_hugepages", node == 0 ? "4\n" : "0\n");
    }
    options_.root = root_.path();
  }

  static std::string Mask(std::initializer_list<int> cpus) {
    unsigned mask = 0;
    for (int cpu : cpus) mask |= 1U << cpu;
    char text[16];
    snprintf(text, sizeof(text), "%02x\n", mask);
    return text;
  }
  void Write(const std::string& name, const std::string& text) { root_.Write("sys/devices/system/" + name, text); }

  TempDir root_;
  LoadOptions options_;
};

TEST_F(LiveTest, ReadsSysfsUnderItsRoot) {
  const absl::StatusOr<Machine> machine = LoadMachine("live", options_);
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->Cpus().ToString(), "0-4,6-7");
  EXPECT_EQ(machine->offline.ToString(), "5");
  ASSERT_EQ(machine->nodes.size(), 2u);
  EXPECT_EQ(machine->nodes[0].cores, (std::vector<Core>{{0, 0, {0, 4}}, {0, 0, {1}}}));
  EXPECT_EQ(machine->nodes[1].cores, (std::vector<Core>{{1, 1, {2, 6}}, {1, 1, {3, 7}}}));
  EXPECT_EQ(machine->nodes[0].memory, uint64_t{24} << 30);
  EXPECT_EQ(machine->nodes[0].hugepages, (std::vector<HugePages>{{2048, 0}, {1048576, 4}}));
  EXPECT_EQ(machine->nodes[1].hugepages, (std::vector<HugePages>{{2048, 0}, {1048576, 0}}));
  EXPECT_EQ(machine->nodes[1].distances, (std::vector<uint64_t>{21, 10}));
}

TEST(Live, IsThisMachineWhateverTheEnvironmentSays) {
  setenv("HWLOC_SYNTHETIC", "numa:3 pu:5", 1);
  const absl::StatusOr<Machine> machine = LoadMachine("");
  unsetenv("HWLOC_SYNTHETIC");
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->name, "live");
  std::ifstream file("/sys/devices/system/cpu/online");
  std::string online;
  if (!std::getline(file, online)) GTEST_SKIP() << "/sys/devices/system/cpu/online is not readable here";
  EXPECT_EQ(machine->Cpus().ToString(), online);
}

TEST(Live, AMissingRootIsAnError) {
  LoadOptions options;
  options.root = "/nonexistent/root";
  const absl::StatusOr<Machine> machine = LoadMachine("live", options);
  EXPECT_EQ(machine.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(machine),
              HasSubstr("read as the live machine: /nonexistent/root/sys/devices/system/cpu: No such"));
}

}  // namespace
}  // namespace podfence
