#include "agent/pods/document.h"

#include "agent/core/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;

std::string YamlError(std::string_view text) {
  const absl::StatusOr<std::vector<Node>> read = ReadYaml(text, "f");
  EXPECT_FALSE(read.ok());
  return std::string(read.status().message());
}

std::string JsonError(std::string_view text) {
  const absl::StatusOr<Node> read = ReadJson(text, "f");
  EXPECT_FALSE(read.ok());
  return std::string(read.status().message());
}

Node Yaml(std::string_view text) {
  absl::StatusOr<std::vector<Node>> read = ReadYaml(text, "f");
  EXPECT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->size(), 1u);
  return read->front();
}

std::string Repeat(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

TEST(ReadYaml, PlainScalarsAreWhatKubernetesTakesThemFor) {
  using enum Node::Kind;
  struct Case {
    std::string text;
    Node::Kind kind;
    std::string value;
  };
  const std::vector<Case> cases = {{"~", kNull, ""},
                                   {"Null", kNull, ""},
                                   {"yes", kBool, "true"},
                                   {"Off", kBool, "false"},
                                   {"12", kNumber, "12"},
                                   {"+12", kNumber, "12"},
                                   {"-12", kNumber, "-12"},
                                   {"0x1F", kNumber, "31"},
                                   {"0b101", kNumber, "5"},
                                   {"010", kNumber, "8"},
                                   {"0o17", kNumber, "15"},
                                   {"1_000", kNumber, "1000"},
                                   {"08", kNumber, "08"},
                                   {"1.5", kNumber, "1.5"},
                                   {".5", kNumber, ".5"},
                                   {"1e+3", kNumber, "1e+3"},
                                   {"1e3", kString, "1e3"},
                                   {"5.", kString, "5."},
                                   {"1Gi", kString, "1Gi"},
                                   {"-", kString, "-"},
                                   {"\"12\"", kString, "12"},
                                   {"'yes'", kString, "yes"},
                                   {"!!str 5", kString, "5"},
                                   {"1.2.3", kString, "1.2.3"},
                                   {"0x", kString, "0x"},
                                   {"a\\b", kString, "a\\b"},
                                   {"true", kBool, "true"},
                                   {"0", kNumber, "0"},
                                   {"123456789012345678901234567890", kNumber, "123456789012345678901234567890"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const Node map = Yaml("key: " + (c.text == "-" ? "\"-\"" : c.text) + "\n");
    const Node* value = map.Find("key");
    ASSERT_NE(value, nullptr);
    EXPECT_EQ(value->kind, c.kind);
    EXPECT_EQ(value->text, c.value);
    EXPECT_EQ(value->line, 1);
  }
}

TEST(ReadYaml, AliasesAndMergeKeysUnfold) {
  const Node root = Yaml("base: &b {a: 1, c: 2}\nlist: [*b]\nmerged:\n  <<: *b\n  c: 3\nboth: {<<: [{x: 1}, *b]}\n");
  EXPECT_EQ(root.Find("list")->children[0].Find("a")->text, "1");
  EXPECT_EQ(root.Find("merged")->Find("a")->text, "1");
  EXPECT_EQ(root.Find("merged")->Find("c")->text, "3");
  EXPECT_EQ(root.Find("both")->keys.size(), 3u);
  EXPECT_THAT(YamlError("a: {<<: 5}"), HasSubstr("<< must merge"));
}

TEST(ReadYaml, AliasBombsAreRefusedBeforeTheyUnfold) {
  std::string bomb = "a0: &n0 [" + Repeat("x,", 9) + "]\n";
  for (int i = 1; i < 30; ++i) {
    bomb += Cat("a", i, ": &n", i, " [", Repeat(Cat("*n", i - 1, ","), 9), "]\n");
  }
  EXPECT_THAT(YamlError(bomb), HasSubstr("holds more than 200000 values"));
  // Deep ones too: each level doubles as the next one's content.
  std::string deep = "a0: &n0 [x]\n";
  for (int i = 1; i < 100; ++i) deep += Cat("a", i, ": &n", i, " [*n", i - 1, "]\n");
  EXPECT_THAT(YamlError(deep), HasSubstr("is nested deeper than 64 levels"));
  EXPECT_THAT(YamlError("a: &a [*a]\n"), HasSubstr("f:1:8: alias to what is not complete yet"));
}

TEST(ReadYaml, HostileTextIsRefusedWithItsPlace) {
  EXPECT_THAT(YamlError(Repeat("- ", 100'000)), HasSubstr("is nested deeper than 64 levels"));
  EXPECT_FALSE(ReadYaml(Repeat("[", 100'000), "f").ok());
  EXPECT_FALSE(ReadYaml(Repeat("{a: ", 100'000), "f").ok());
  EXPECT_FALSE(ReadYaml(Repeat("? ", 100'000), "f").ok());
  EXPECT_FALSE(ReadYaml(Repeat("&a ", 100'000), "f").ok());
  EXPECT_THAT(YamlError("[" + Repeat("1,", 300'000) + "]"), HasSubstr("holds more than 200000 values"));
  EXPECT_THAT(YamlError(std::string((2 << 20) + 1, '#')), HasSubstr("at most 2097152 are read"));
  EXPECT_THAT(YamlError("a: b\nc: \xff\n"), HasSubstr("f:2:4: is not UTF-8"));
  EXPECT_THAT(YamlError("a: \xed\xa0\x80"), HasSubstr("is not UTF-8"));  // a surrogate
  EXPECT_THAT(YamlError("a: \xc0\xaf"), HasSubstr("is not UTF-8"));      // an overlong form
  EXPECT_THAT(YamlError("a: \xf4\x90\x80\x80"), HasSubstr("is not UTF-8"));
  EXPECT_THAT(YamlError("a: \xe2\x82"), HasSubstr("is not UTF-8"));
  EXPECT_THAT(YamlError("a: \"\\0\""), HasSubstr("holds a NUL character"));
  EXPECT_THAT(YamlError("a: !ruby/object {b: c}\nb: !thing x"), HasSubstr("unknown tag !thing"));
  EXPECT_THAT(YamlError("a: b: c"), HasSubstr("f:1:5: is not YAML"));
  EXPECT_THAT(YamlError("? [a]\n: b"), HasSubstr("a key must be a plain value"));
  EXPECT_THAT(YamlError("a: 1\na: 2"), HasSubstr("f:2:1: key \"a\" appears twice"));
}

TEST(ReadJson, KeepsBigIntegersAndEscapes) {
  const absl::StatusOr<Node> root = ReadJson(
      "{\"big\": 123456789012345678901234567890, \"face\": \"\\ud83d\\ude00\", \"min\": -9223372036854775808,"
      " \"float\": 0.10000000000000000000001}",
      "f");
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->Find("big")->text, "123456789012345678901234567890");
  EXPECT_EQ(root->Find("face")->text, "\U0001F600");
  EXPECT_EQ(root->Find("min")->text, "-9223372036854775808");
  EXPECT_EQ(root->Find("float")->text, "0.10000000000000000000001");
  EXPECT_EQ(root->Find("none"), nullptr);
}

TEST(ReadJson, HostileTextIsRefusedWithItsPlace) {
  EXPECT_THAT(JsonError(Repeat("[", 100'000)), HasSubstr("f:1:65: is nested deeper than 64 levels"));
  EXPECT_THAT(JsonError(Repeat("{\"a\":", 100'000)), HasSubstr("is nested deeper than 64 levels"));
  EXPECT_THAT(JsonError("[" + Repeat("1,", 300'000) + "1]"), HasSubstr("holds more than 200000 values"));
  EXPECT_THAT(JsonError(std::string((2 << 20) + 1, ' ')), HasSubstr("at most 2097152 are read"));
  EXPECT_THAT(JsonError(""), HasSubstr("is not JSON"));
  EXPECT_THAT(JsonError("{\n\"a\": tru}"), HasSubstr("f:2:9: is not JSON"));
  EXPECT_THAT(JsonError("{} {}"), HasSubstr("is not JSON"));
  EXPECT_THAT(JsonError("[1e999]"), HasSubstr("is not JSON"));
  EXPECT_THAT(JsonError("\"\xff\""), HasSubstr("is not JSON"));
  EXPECT_THAT(JsonError("\"\\ud83d\""), HasSubstr("is not JSON"));
  EXPECT_THAT(JsonError("{\"a\":\n\"x\\u0000\"}"), HasSubstr("f:2:9: holds a NUL character"));
}

TEST(ToNode, IsBoundedToo) {
  nlohmann::json deep = 1;
  for (int i = 0; i < 100; ++i) deep = nlohmann::json::array({std::move(deep)});
  EXPECT_THAT(std::string(ToNode(deep).status().message()), HasSubstr("is nested deeper than 64 levels"));
  const absl::StatusOr<Node> node = ToNode({{"a", 1.5}, {"b", true}, {"c", nullptr}, {"d", {1u, -2, "x"}}});
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->Find("a")->text, "1.5");
  EXPECT_EQ(node->Find("b")->kind, Node::Kind::kBool);
  EXPECT_EQ(node->Find("c")->kind, Node::Kind::kNull);
  EXPECT_EQ(node->Find("d")->children[1].text, "-2");
}

TEST(Field, NamesItsPathWithinBounds) {
  const Node root = Yaml("a: {\"b.c\\n\": [x, {" + std::string(500, 'k') + ": 1}]}");
  std::vector<std::string> paths;
  Field(root).EachMember([&](const std::string&, const Field& a) {
    a.EachMember([&](const std::string&, const Field& list) {
      list.EachItem([&](size_t, const Field& item) {
        paths.push_back(item.Path());
        if (item.node().kind != Node::Kind::kMap) return;
        item.EachMember([&](const std::string&, const Field& last) { paths.push_back(last.Path()); });
      });
    });
  });
  ASSERT_EQ(paths.size(), 3u);
  EXPECT_EQ(paths[0], "a.b.c\\n[0]");
  EXPECT_LT(paths[2].size(), 120u);
  EXPECT_EQ(Field(root).Path(), "");
}

}  // namespace
}  // namespace podfence
