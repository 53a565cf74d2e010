#include "agent/pods/validation.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "agent/core/text.h"
#include "agent/pods/names.h"

namespace podfence {
namespace {

constexpr std::string_view kInvalid = "Invalid value";
constexpr std::string_view kRequired = "Required value";
constexpr std::string_view kDuplicate = "Duplicate value";
constexpr std::string_view kForbidden = "Forbidden";
constexpr std::string_view kUnsupported = "Unsupported value";

constexpr std::string_view kDefaultDomain = "kubernetes.io/";
constexpr std::string_view kQuotaPrefix = "requests.";
constexpr size_t kMaxAnnotationBytes = size_t{256} << 10;

// Resources of the API's own that count whole things, and so must be integers.
constexpr std::array<std::string_view, 9> kCountedResources{
    "pods",       "resourcequotas",         "services",           "replicationcontrollers", "secrets",
    "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers"};
constexpr std::array<std::string_view, 11> kStandardResources{"cpu",
                                                              "memory",
                                                              "ephemeral-storage",
                                                              "requests.cpu",
                                                              "storage",
                                                              "requests.memory",
                                                              "requests.ephemeral-storage",
                                                              "limits.cpu",
                                                              "limits.memory",
                                                              "limits.ephemeral-storage",
                                                              "requests.storage"};

bool IsHugePages(std::string_view name) { return name.starts_with(kHugePagesPrefix); }

bool IsNative(std::string_view name) {
  return name.find('/') == std::string_view::npos || name.find(kDefaultDomain) != std::string_view::npos;
}

bool IsExtended(std::string_view name) {
  return !IsNative(name) && !name.starts_with(kQuotaPrefix) && QualifiedNameFaults(Cat(kQuotaPrefix, name)) == 0;
}

bool MayOvercommit(std::string_view name) { return IsNative(name) && !IsHugePages(name); }

bool MustBeWhole(std::string_view name) { return OneOf(name, kCountedResources) || IsExtended(name); }

bool IsStandard(std::string_view name) {
  return OneOf(name, kStandardResources) || OneOf(name, kCountedResources) || IsHugePages(name) ||
         (name.starts_with(kQuotaPrefix) && IsHugePages(name.substr(kQuotaPrefix.size())));
}

// The amount is a whole number of pages of the size that the name gives.
bool IsWholePages(std::string_view name, const Quantity& amount) {
  const absl::StatusOr<Quantity> page = Quantity::Parse(name.substr(kHugePagesPrefix.size()));
  return page.ok() && *page > Quantity() && page->IsIntegral() && amount.Value() % page->Value() == 0;
}

const Quantity* Find(const ResourceList& list, std::string_view name) {
  const auto found = list.find(name);
  return found == list.end() ? nullptr : &found->second;
}

// What all containers together ask for of one resource at any time; none where none names it
// (k8s.io/component-helpers/resource AggregateContainerRequests and Limits): the app containers and sidecars, or an
// init container beside the sidecars started before it, whichever is more.
std::optional<Quantity> Aggregate(const Pod& pod, std::string_view name, ResourceList ResourceRequirements::*list) {
  const auto add = [](std::optional<Quantity>& sum, const Quantity* more) {
    if (more == nullptr) return;
    if (sum) {
      *sum += *more;
    } else {
      sum = *more;
    }
  };
  std::optional<Quantity> together;
  for (const Container& container : pod.containers) add(together, Find(container.resources.*list, name));
  std::optional<Quantity> sidecars;
  std::optional<Quantity> highest;
  for (const Container& container : pod.init_containers) {
    const Quantity* amount = Find(container.resources.*list, name);
    std::optional<Quantity> now = sidecars;
    add(now, amount);
    if (IsSidecar(container)) {
      add(together, amount);
      sidecars = now;
    }
    if (now && (!highest || *now > *highest)) highest = now;
  }
  return highest && (!together || *highest > *together) ? highest : together;
}

class Checker {
 public:
  explicit Checker(const Pod& pod) : pod_(pod) {}

  std::vector<PodProblem> Check() {
    CheckMetadata();
    CheckContainers();
    if (!pod_.overhead.empty()) {  // checked as if it were limits
      CheckRequirements({.requests = {}, .limits = pod_.overhead}, Level::kContainer,
                        [] { return std::string("spec.overhead"); });
    }
    if (pod_.resources) {
      CheckRequirements(*pod_.resources, Level::kPod, [] { return std::string("spec.resources"); });
      CheckBudget(*pod_.resources);
    }
    std::sort(problems_.begin(), problems_.end(),
              [](const PodProblem& a, const PodProblem& b) { return a.Short() < b.Short(); });
    return std::move(problems_);
  }

 private:
  enum class Level { kContainer, kPod };

  void Add(std::string field, std::string_view reason, std::string detail) {
    problems_.push_back({std::move(field), std::string(reason), std::move(detail)});
  }

  // The API reports every rule that a name breaks.
  void AddFaults(int faults, std::string_view field, std::string_view value, std::string_view rule) {
    constexpr size_t kShown = 80;
    for (; faults > 0; --faults) {
      Add(std::string(field), kInvalid,
          Cat("\"", absl::Utf8SafeCEscape(ToAbsl(value.substr(0, kShown))), value.size() > kShown ? "…" : "",
              "\" must be ", rule));
    }
  }

  void CheckMetadata() {
    if (pod_.name.empty()) {
      Add("metadata.name", kRequired, "a pod needs a name");
    } else {
      AddFaults(DnsSubdomainFaults(pod_.name), "metadata.name", pod_.name, kDnsSubdomainRule);
    }
    if (pod_.ns.empty()) {
      Add("metadata.namespace", kRequired, "a pod needs a namespace");
    } else {
      AddFaults(DnsLabelFaults(pod_.ns), "metadata.namespace", pod_.ns, kDnsLabelRule);
    }
    for (const auto& [key, value] : pod_.labels) {
      AddFaults(QualifiedNameFaults(key), "metadata.labels", key, kQualifiedNameRule);
      AddFaults(LabelValueFaults(value), "metadata.labels", value, kLabelValueRule);
    }
    size_t bytes = 0;
    for (const auto& [key, value] : pod_.annotations) {
      AddFaults(QualifiedNameFaults(absl::AsciiStrToLower(key)), "metadata.annotations", key, kQualifiedNameRule);
      bytes += key.size() + value.size();
    }
    if (bytes > kMaxAnnotationBytes) {
      Add("metadata.annotations", "Too long", Cat("have ", bytes, " bytes, must have at most ", kMaxAnnotationBytes));
    }
  }

  void CheckContainers() {
    if (pod_.containers.empty()) Add("spec.containers", kRequired, "a pod needs at least one container");
    std::unordered_set<std::string_view> names;
    for (size_t i = 0; i < pod_.containers.size(); ++i) {
      const Container& container = pod_.containers[i];
      const auto path = [i] { return Cat("spec.containers[", i, "]"); };
      CheckContainer(container, path);
      if (!names.insert(container.name).second) AddDuplicate(container, path());
    }
    for (size_t i = 0; i < pod_.init_containers.size(); ++i) {
      const Container& container = pod_.init_containers[i];
      const auto path = [i] { return Cat("spec.initContainers[", i, "]"); };
      CheckContainer(container, path);
      const bool fresh = container.name.empty() ? !names.contains("") : names.insert(container.name).second;
      if (!fresh) AddDuplicate(container, path());
    }
  }

  void AddDuplicate(const Container& container, const std::string& path) {
    Add(path + ".name", kDuplicate, Cat("\"", container.name, "\" is the name of another container of the pod"));
  }

  template <typename Path>
  void CheckContainer(const Container& container, const Path& path) {
    if (container.name.empty()) {
      Add(path() + ".name", kRequired, "a container needs a name");
    } else if (const int faults = DnsLabelFaults(container.name); faults > 0) {
      AddFaults(faults, path() + ".name", container.name, kDnsLabelRule);
    }
    const std::string& image = container.image;
    if (image.empty()) {
      Add(path() + ".image", kRequired, "a container needs an image");
    } else if (absl::ascii_isspace(static_cast<unsigned char>(image.front())) ||
               absl::ascii_isspace(static_cast<unsigned char>(image.back()))) {
      Add(path() + ".image", kInvalid, "must not begin or end with white space");
    }
    CheckRequirements(container.resources, Level::kContainer, [&] { return path() + ".resources"; });
  }

  template <typename Path>
  void CheckName(std::string_view name, Level level, const Path& path) {
    if (name == kCpu || name == kMemory) return;
    const int faults = QualifiedNameFaults(name);
    AddFaults(faults, faults > 0 ? path() : "", name, kQualifiedNameRule);
    const bool short_name = name.find('/') == std::string_view::npos;
    const bool unknown = faults == 0 && short_name && !IsStandard(name);
    if (unknown) Add(path(), kInvalid, "must be a standard resource or have a domain (example.com/name)");
    if (level == Level::kPod) {
      if (faults == 0 && !unknown && !IsHugePages(name)) {
        Add(path(), kUnsupported, "at pod level only cpu, memory and hugepages-… are supported");
      }
    } else if (short_name) {
      if (name != "ephemeral-storage" && !IsHugePages(name)) {
        Add(path(), kInvalid, "must be a resource that containers have: cpu, memory, ephemeral-storage, hugepages-…");
      }
    } else if (!IsNative(name) && !IsExtended(name)) {
      Add(path(), kInvalid, "must follow the rules of extended resources (example.com/name)");
    }
  }

  template <typename Path>
  void CheckAmount(std::string_view name, const Quantity& amount, const Path& path) {
    if (amount.IsNegative()) Add(path(), kInvalid, Cat(amount.ToString(), " is negative"));
    if (!amount.IsIntegral() && MustBeWhole(name)) Add(path(), kInvalid, Cat(amount.ToString(), " must be whole"));
    if (IsHugePages(name) && !IsWholePages(name, amount)) {
      Add(path(), kInvalid, Cat(amount.ToString(), " must be a whole number of pages of ", name));
    }
  }

  template <typename Path>
  void CheckRequirements(const ResourceRequirements& resources, Level level, const Path& path) {
    for (const auto& [name, amount] : resources.limits) {
      const auto key = [&, &name = name] { return Cat(path(), ".limits[", name, "]"); };
      CheckName(name, level, key);
      CheckAmount(name, amount, key);
    }
    for (const auto& [name, amount] : resources.requests) {
      const auto key = [&, &name = name] { return Cat(path(), ".requests[", name, "]"); };
      CheckName(name, level, key);
      CheckAmount(name, amount, key);
      const Quantity* limit = Find(resources.limits, name);
      if (limit == nullptr) {
        if (!MayOvercommit(name)) {
          Add(path() + ".limits", kRequired,
              Cat(name, " cannot be overcommitted: it needs a limit equal to its request"));
        }
      } else if (amount > *limit || (amount != *limit && !MayOvercommit(name))) {
        Add(path() + ".requests", kInvalid,
            Cat(name, " request ", amount.ToString(),
                MayOvercommit(name) ? " exceeds the limit " : " must equal the limit ", limit->ToString()));
      }
    }
    const auto names_any = [&](auto&& predicate) {
      const auto has = [&](const ResourceList& list) {
        return std::any_of(list.begin(), list.end(), [&](const auto& entry) { return predicate(entry.first); });
      };
      return has(resources.limits) || has(resources.requests);
    };
    if (names_any(IsHugePages) && !names_any([](std::string_view name) { return name == kCpu || name == kMemory; })) {
      Add(path(), kForbidden, "huge pages need a cpu or memory amount beside them");
    }
  }

  // The pod-level budget against what the containers ask for.
  void CheckBudget(const ResourceRequirements& budget) {
    for (const auto& [name, amount] : budget.requests) {
      const std::optional<Quantity> all = Aggregate(pod_, name, &ResourceRequirements::requests);
      if (all && *all > amount) {
        Add(Cat("spec.resources.requests[", name, "]"), kInvalid,
            Cat(amount.ToString(), " is less than the ", all->ToString(), " that the containers request together"));
      }
    }
    for (const auto& [name, amount] : budget.limits) {
      if (!IsHugePages(name)) continue;
      const std::optional<Quantity> all = Aggregate(pod_, name, &ResourceRequirements::limits);
      if (all && *all > amount) {
        Add(Cat("spec.resources.limits[", name, "]"), kInvalid,
            Cat(amount.ToString(), " is less than the ", all->ToString(),
                " that the containers' limits allow together"));
      }
    }
    for (size_t i = 0; i < pod_.containers.size(); ++i) {
      for (const auto& [name, limit] : pod_.containers[i].resources.limits) {
        const Quantity* most = Find(budget.limits, name);
        if (most != nullptr && limit > *most) {
          Add(Cat("spec.resources.containers[", i, "][", name, "].limits"), kInvalid,
              Cat(limit.ToString(), " exceeds the pod's limit ", most->ToString()));
        }
      }
    }
  }

  const Pod& pod_;
  std::vector<PodProblem> problems_;
};

}  // namespace

std::vector<PodProblem> CheckPod(const Pod& pod) { return Checker(pod).Check(); }

std::vector<std::string> ValidatePod(const Pod& pod) {
  std::vector<std::string> problems;
  for (const PodProblem& problem : CheckPod(pod)) problems.push_back(problem.Short());
  return problems;
}

}  // namespace podfence
