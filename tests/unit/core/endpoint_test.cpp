#include "agent/core/endpoint.h"

#include "gtest/gtest.h"

namespace podfence {
namespace {

TEST(ParseEndpoint, TakesHostsAddressesAndPaths) {
  EXPECT_EQ(*ParseEndpoint("http://127.0.0.1:10255/pods"), (Endpoint{false, "127.0.0.1", 10255, "/pods"}));
  EXPECT_EQ(*ParseEndpoint("https://api.example"), (Endpoint{true, "api.example", 443, "/"}));
  EXPECT_EQ(*ParseEndpoint("http://a-b_c.d/x/y"), (Endpoint{false, "a-b_c.d", 80, "/x/y"}));
  EXPECT_EQ(*ParseEndpoint("https://[fd00::a1]:6443/"), (Endpoint{true, "fd00::a1", 6443, "/"}));
}

TEST(ParseEndpoint, ShowsItselfAsItWasWritten) {
  EXPECT_EQ(ParseEndpoint("https://[fd00::1]:6443/x")->Origin(), "https://[fd00::1]:6443");
  EXPECT_EQ(ParseEndpoint("http://host")->Authority(), "host:80");
}

TEST(ParseEndpoint, RefusesWhatIsNoPlaceOnAServer) {
  for (const char* bad : {"",
                          "127.0.0.1:80",
                          "ftp://a",
                          "http://",
                          "http:///x",
                          "http://a:",
                          "http://a:0",
                          "http://a:65536",
                          "http://a:8x",
                          "http://a b",
                          "http://a/b c",
                          "http://a/?q",
                          "http://a/#f",
                          "http://user@a",
                          "http://[::1",
                          "http://[::1]x",
                          "http://[a.b]",
                          "http://::1:80",
                          "http://a/\x01",
                          "HTTP://a"}) {
    EXPECT_FALSE(ParseEndpoint(bad).ok()) << bad;
  }
  EXPECT_FALSE(ParseEndpoint("http://a/" + std::string(3000, 'x')).ok());
}

}  // namespace
}  // namespace podfence
