#include "agent/topology/xml_check.h"

#include <gtest/gtest.h>

#include <string>

#include "agent/core/text.h"

namespace podfence {
namespace {

struct Case {
  std::string text;
  std::string problem;  // empty: none
};

class XmlCheck : public ::testing::TestWithParam<Case> {};

TEST_P(XmlCheck, SaysWhatAndWhere) {
  const absl::Status status = CheckXml(GetParam().text, "topology");
  EXPECT_EQ(status.ok(), GetParam().problem.empty()) << status;
  EXPECT_EQ(ToStd(status.message()), GetParam().problem);
}

std::string Nested(int depth) {
  std::string text = "<topology>";
  for (int i = 1; i < depth; ++i) text += "<object>";
  for (int i = 1; i < depth; ++i) text += "</object>";
  return text + "</topology>";
}

INSTANTIATE_TEST_SUITE_P(
    All, XmlCheck,
    ::testing::Values(Case{"<?xml version=\"1.0\"?>\n<!DOCTYPE topology>\n<!-- <a> -->\n<topology a=\"1>2\" b='\"'>\n "
                           "<o/>text</topology>\n",
                           ""},
                      Case{"<topology/>", ""}, Case{"<topology><![CDATA[<x>]]></topology>", ""}, Case{Nested(128), ""},
                      Case{Nested(129), "line 1: elements are nested deeper than 128"},
                      Case{"", "line 1: has no element <topology>"},
                      Case{"\n\n{\"a\": 1}", "line 3: text outside of <topology>: this is no hwloc XML file"},
                      Case{"<topology/>\nmore", "line 2: text outside of <topology>: this is no hwloc XML file"},
                      Case{"<domain/>", "line 1: <domain> where <topology> is expected"},
                      Case{"<topology/>\n<topology/>", "line 2: <topology> where the end of the file is expected"},
                      Case{"<topology>\n<object>\n<info>\n</object>\n",
                           "line 4: </object> closes <info>, opened in line 3"},
                      Case{"</topology>", "line 1: </topology> closes nothing"},
                      Case{"<topology>\n<object\n type=\"PU\">\n<info/>\n",
                           "line 5: the file ends inside <object>, opened in line 2: it is cut short"},
                      Case{"<topology>\n<object type=\"P", "line 2: the file ends inside this tag: it is cut short"},
                      Case{"<topology>\n<object <info/>", "line 2: a \"<\" inside of a tag"},
                      Case{"<topology>\n< />", "line 2: a tag without a name"},
                      Case{"<topology>\n<!-- x", "line 2: nothing closes this with -->"}));

}  // namespace
}  // namespace podfence
