#include "agent/places_file.h"

#include <nlohmann/json.hpp>

#include "agent/cgroup/files.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;

std::string PathOf(const std::string& state_directory) { return Cat(state_directory, "/places.json"); }

}  // namespace

absl::Status KeepPlaces(const std::string& state_directory, const Places& places) {
  Json pods = Json::object();
  for (const auto& [uid, pod] : places.pods) {
    pods[uid] = {{"path", pod.path}, {"pause", pod.pause}, {"containers", pod.containers}, {"guests", pod.guests}};
  }
  const Json file = {
      {"version", kVersion}, {"top", places.top}, {"classes", places.classes}, {"pods", std::move(pods)}};
  return ReplaceFile(PathOf(state_directory), file.dump(2, ' ', false, Json::error_handler_t::replace));
}

absl::StatusOr<Places> ReadPlaces(const std::string& state_directory) {
  const std::string path = PathOf(state_directory);
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  Places places;
  try {
    const Json file = Json::parse(*text);
    if (const int version = file.at("version").get<int>(); version != kVersion) {
      return absl::InvalidArgumentError(
          Cat(path, ": version ", version, ", not ", kVersion, ": take the `podfence` that the agent is"));
    }
    file.at("top").get_to(places.top);
    file.at("classes").get_to(places.classes);
    for (const auto& [uid, pod] : file.at("pods").items()) {
      PodPlace& place = places.pods[uid];
      pod.at("path").get_to(place.path);
      pod.at("pause").get_to(place.pause);
      pod.at("containers").get_to(place.containers);
      pod.at("guests").get_to(place.guests);
    }
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        Cat(path, ": ", error.what(), "; the agent writes it anew when a pod comes or goes"));
  }
  return places;
}

}  // namespace podfence
