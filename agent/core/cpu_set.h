#pragma once

#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"

namespace podfence {

// A set of logical CPU numbers, as cpuset.cpus and Linux "cpulists" name them ("0-3,8,10-11").
// A value: copied, compared and combined without I/O. Up to 256 CPUs need no heap memory; the highest CPU number
// is kMaxCpu (the kernel's NR_CPUS limit). Words beyond the last set bit are never stored, so equal sets are equal.
class CpuSet {
 public:
  static constexpr int kMaxCpu = 8191;

  CpuSet() = default;
  CpuSet(std::initializer_list<int> cpus) {
    for (int cpu : cpus) Add(cpu);
  }

  // The set {first, …, last}; empty where last < first.
  static CpuSet Range(int first, int last);
  // Reads a cpulist: decimal numbers and ranges "a-b", separated by commas; surrounding white space is ignored, the
  // empty list is the empty set. InvalidArgument names the offending part and where it is.
  static absl::StatusOr<CpuSet> Parse(std::string_view list);
  // The canonical cpulist: ascending, longest ranges; "" for the empty set.
  std::string ToString() const;

  void Add(int cpu) {
    const size_t word = static_cast<size_t>(cpu) / 64;
    if (words_.size() <= word) words_.resize(word + 1, 0);
    words_[word] |= uint64_t{1} << (cpu % 64);
  }
  void Remove(int cpu);
  void Clear() { words_.clear(); }
  bool Contains(int cpu) const {
    const size_t word = static_cast<size_t>(cpu) / 64;
    return cpu >= 0 && word < words_.size() && ((words_[word] >> (cpu % 64)) & 1) != 0;
  }
  bool empty() const { return words_.empty(); }
  int size() const {
    int count = 0;
    for (uint64_t word : words_) count += std::popcount(word);
    return count;
  }
  // The lowest CPU; -1 where the set is empty.
  int First() const;
  bool Intersects(const CpuSet& other) const;
  bool IsSubsetOf(const CpuSet& other) const;
  // The size of the intersection, without building it.
  int IntersectionSize(const CpuSet& other) const;

  CpuSet& operator|=(const CpuSet& other);
  CpuSet& operator&=(const CpuSet& other);
  CpuSet& operator-=(const CpuSet& other);
  friend CpuSet operator|(CpuSet a, const CpuSet& b) { return a |= b; }
  friend CpuSet operator&(CpuSet a, const CpuSet& b) { return a &= b; }
  friend CpuSet operator-(CpuSet a, const CpuSet& b) { return a -= b; }
  friend bool operator==(const CpuSet&, const CpuSet&) = default;

  // Ascending iteration: for (int cpu : set).
  class Iterator {
   public:
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    Iterator() = default;
    Iterator(const CpuSet* set, size_t word) : set_(set), word_(word) { Settle(); }
    int operator*() const { return static_cast<int>(word_ * 64) + std::countr_zero(rest_); }
    Iterator& operator++() {
      rest_ &= rest_ - 1;
      if (rest_ == 0) {
        ++word_;
        Settle();
      }
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator& a, const Iterator& b) { return a.word_ == b.word_ && a.rest_ == b.rest_; }

   private:
    void Settle() {
      while (word_ < set_->words_.size() && set_->words_[word_] == 0) ++word_;
      rest_ = word_ < set_->words_.size() ? set_->words_[word_] : 0;
    }
    const CpuSet* set_ = nullptr;
    size_t word_ = 0;
    uint64_t rest_ = 0;
  };
  Iterator begin() const { return Iterator(this, 0); }
  Iterator end() const { return Iterator(this, words_.size()); }

 private:
  void Trim() {
    while (!words_.empty() && words_.back() == 0) words_.pop_back();
  }
  absl::InlinedVector<uint64_t, 4> words_;
};

}  // namespace podfence
