#include "agent/kubernetes/http_client.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <thread>

#include "agent/core/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/kubernetes/fake_api.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;

std::string WriteFile(const std::string& name, const std::string& content) {
  std::string path = TempPath(name);
  std::ofstream(path) << content;
  return path;
}

absl::StatusOr<HttpReply> Get(HttpClient& client, const HttpClient::Limits& limits = {}) {
  return client.Fetch({.method = "GET", .target = "/x?a=b%2Fc", .content_type = "", .body = ""}, limits);
}

HttpClient ClientOf(const FakeApi& api, const std::string& token_file, const std::string& ca_file) {
  return HttpClient(ApiAccess{.endpoint = *ParseEndpoint(api.url()), .token_file = token_file, .ca_file = ca_file});
}

TEST(HttpClient, ReadsTheTokenForEachRequest) {
  const Certificate certificate = MakeCertificate("IP:127.0.0.1");
  FakeApi api(&certificate);
  api.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{200, "hello"}; });
  const std::string token = WriteFile("token", "first\n");
  HttpClient client = ClientOf(api, token, certificate.file);
  const absl::StatusOr<HttpReply> reply = Get(client);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->body, "hello");
  WriteFile("token", "second\n");
  ASSERT_TRUE(Get(client).ok());
  ASSERT_EQ(api.seen().size(), 2u);
  EXPECT_EQ(api.seen()[0].authorization, "Bearer first");
  EXPECT_EQ(api.seen()[0].Query("a"), "b/c");
  EXPECT_EQ(api.seen()[1].authorization, "Bearer second");
  std::remove(token.c_str());
  const absl::Status missing = Get(client).status();
  EXPECT_TRUE(absl::IsUnauthenticated(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr(Cat(token, ": No such file or directory")));
  WriteFile("token", "two words");
  EXPECT_THAT(std::string(Get(client).status().message()), HasSubstr("holds no token"));
  WriteFile("token", "");
  EXPECT_THAT(std::string(Get(client).status().message()), HasSubstr("is empty"));
}

TEST(HttpClient, SendsNoTokenInTheClear) {
  FakeApi api;
  api.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{200, ""}; });
  HttpClient client = ClientOf(api, WriteFile("token", "secret"), "");
  ASSERT_TRUE(Get(client).ok());
  EXPECT_EQ(api.seen()[0].authorization, "");
}

TEST(HttpClient, RefusesAServerThatItsCaDoesNotKnow) {
  const Certificate certificate = MakeCertificate("IP:127.0.0.1");
  const Certificate other = MakeCertificate("IP:127.0.0.1");
  FakeApi api(&certificate);
  HttpClient client = ClientOf(api, "", other.file);
  const absl::Status status = Get(client).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("its certificate is refused"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(other.file));
  EXPECT_TRUE(api.seen().empty());
}

TEST(HttpClient, RefusesACertificateForAnotherHost) {
  const Certificate certificate = MakeCertificate("IP:127.0.0.2");
  FakeApi api(&certificate);
  HttpClient client = ClientOf(api, "", certificate.file);
  EXPECT_THAT(std::string(Get(client).status().message()), HasSubstr("it is not for \"127.0.0.1\""));
}

TEST(HttpClient, TakesARenewedCaFile) {
  const Certificate certificate = MakeCertificate("IP:127.0.0.1");
  FakeApi api(&certificate);
  api.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{200, ""}; });
  const std::string ca = TempPath("ca");
  std::remove(ca.c_str());
  HttpClient client = ClientOf(api, "", ca);
  EXPECT_THAT(std::string(Get(client).status().message()), HasSubstr(Cat("CA file ", ca, " cannot be read")));
  std::ofstream(ca) << std::ifstream(certificate.file).rdbuf();
  EXPECT_TRUE(Get(client).ok());
}

TEST(HttpClient, AskedAgainLaterItConnectsAnew) {
  const Certificate certificate = MakeCertificate("IP:127.0.0.1");
  FakeApi api(&certificate);
  api.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{200, "hello"}; });
  HttpClient client = ClientOf(api, "", certificate.file);
  ASSERT_TRUE(Get(client).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(1000 * FakeApi::kIdleSeconds + 500));
  const absl::StatusOr<HttpReply> reply = Get(client);
  EXPECT_TRUE(reply.ok()) << "the server closed the connection that was kept: " << reply.status();
}

TEST(HttpClient, NamesAServerThatIsNotThere) {
  int port = 0;
  {
    const FakeApi gone;
    port = gone.port();
  }
  HttpClient client(
      ApiAccess{.endpoint = *ParseEndpoint(Cat("http://127.0.0.1:", port)), .token_file = "", .ca_file = ""});
  const absl::Status status = Get(client).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr(Cat("http://127.0.0.1:", port, ": cannot be connected to")));
}

TEST(HttpClient, SpeaksNoTlsWithAServerThatDoesNot) {
  FakeApi api;
  HttpClient client(
      ApiAccess{.endpoint = *ParseEndpoint(Cat("https://127.0.0.1:", api.port())), .token_file = "", .ca_file = ""});
  EXPECT_TRUE(absl::IsUnavailable(Get(client, {.bytes = 100, .time = absl::Seconds(2)}).status()));
}

TEST(HttpClient, BoundsAnAnswerInBytesAndTime) {
  FakeApi api;
  api.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{200, std::string(100'000, 'x')}; });
  HttpClient client = ClientOf(api, "", "");
  const absl::Status large = Get(client, {.bytes = 99'999, .time = absl::Seconds(10)}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(large)) << large;
  EXPECT_EQ(Get(client, {.bytes = 100'000, .time = absl::Seconds(10)})->body.size(), 100'000u);
  api.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{500, std::string(100'000, 'x')}; });
  EXPECT_EQ(Get(client, {.bytes = 1000, .time = absl::Seconds(10)})->body.size(), 1000u);
  api.Answer([](const FakeApi::Seen&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    return FakeApi::Reply{200, ""};
  });
  const absl::Time begin = absl::Now();
  EXPECT_FALSE(Get(client, {.bytes = 1000, .time = absl::Milliseconds(300)}).ok());
  EXPECT_LT(absl::Now() - begin, absl::Milliseconds(1400));
}

TEST(HttpClient, ADrippingAnswerIsLate) {
  FakeApi api;
  api.AddWatch({.pieces = {}});
  std::atomic<bool> over = false;
  std::thread drip([&] {
    while (!over) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (api.watches() > 0) api.Send("x");
    }
  });
  HttpClient client = ClientOf(api, "", "");
  const absl::StatusOr<HttpReply> reply =
      client.Fetch({.method = "GET", .target = "/x?watch=1", .content_type = "", .body = ""},
                   {.bytes = 1000, .time = absl::Milliseconds(500)});
  over = true;
  drip.join();
  EXPECT_TRUE(absl::IsDeadlineExceeded(reply.status())) << reply.status();
}

TEST(HttpClient, InterruptEndsWhatIsUnderWayAndAllAfterIt) {
  FakeApi api;
  api.AddWatch({.pieces = {}});
  HttpClient client = ClientOf(api, "", "");
  std::atomic<bool> ended = false;
  std::thread interrupter([&] {
    while (api.watches() == 0) std::this_thread::yield();
    while (!ended) {
      client.Interrupt();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  const absl::StatusOr<HttpReply> reply = client.Stream(
      "/x?watch=1", absl::Seconds(60), [] {}, [](std::string_view) { return true; });
  ended = true;
  interrupter.join();
  EXPECT_TRUE(absl::IsCancelled(reply.status())) << reply.status();
  EXPECT_TRUE(absl::IsCancelled(Get(client).status()));
}

TEST(HttpClient, AStreamEndsWhereTheTakerHasEnough) {
  FakeApi api;
  api.AddWatch({.pieces = {"one", "two"}});
  HttpClient client = ClientOf(api, "", "");
  int opened = 0;
  const absl::StatusOr<HttpReply> reply = client.Stream(
      "/x?watch=1", absl::Seconds(10), [&] { ++opened; }, [](std::string_view) { return false; });
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->code, 200);
  EXPECT_EQ(opened, 1);
}

TEST(HttpClient, FollowsNoRedirect) {
  FakeApi api;
  api.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{302, "elsewhere"}; });
  HttpClient client = ClientOf(api, "", "");
  EXPECT_EQ(Get(client)->code, 302);
}

TEST(ApiError, SpeaksAsTheServerDid) {
  const absl::Status conflict = ApiError("patch", {409, StatusJson(409, "Conflict", "the UID differs")});
  EXPECT_TRUE(absl::IsAborted(conflict));
  EXPECT_EQ(conflict.message(), "patch: 409: the UID differs");
  EXPECT_TRUE(absl::IsUnavailable(ApiError("x", {500, "<html>\x01"})));
  EXPECT_THAT(std::string(ApiError("x", {401, ""}).message()), HasSubstr("apiServerTokenFile"));
}

TEST(EscapeUrl, LeavesOnlyWhatIsSafe) { EXPECT_EQ(EscapeUrl("a-b._~/ =%&é"), "a-b._~%2F%20%3D%25%26%C3%A9"); }

}  // namespace
}  // namespace podfence
