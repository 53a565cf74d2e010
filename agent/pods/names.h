#pragma once

#include <string_view>

// The forms of names that the API allows (k8s.io/apimachinery pkg/api/validate/content). Each function gives the number
// of rules the text breaks, 0 for a valid one: the API reports each of them.

namespace podfence {

inline constexpr std::string_view kDnsLabelRule =
    "at most 63 lower case letters, digits or '-', beginning and ending with a letter or digit";
inline constexpr std::string_view kDnsSubdomainRule =
    "at most 253 characters: lower case letters, digits or '-', in parts joined by '.'";
inline constexpr std::string_view kQualifiedNameRule =
    "an optional DNS subdomain and '/', then at most 63 letters, digits, '-', '_' or '.', beginning and ending with a "
    "letter or digit";
inline constexpr std::string_view kLabelValueRule =
    "empty, or at most 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit";

int DnsLabelFaults(std::string_view name);
int DnsSubdomainFaults(std::string_view name);
int QualifiedNameFaults(std::string_view name);
int LabelValueFaults(std::string_view value);

}  // namespace podfence
