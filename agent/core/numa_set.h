#pragma once

#include <bit>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace podfence {

// A set of NUMA node ids (OS indexes, 0 to 63) in one word, as the reference's bitmask
// (topologymanager/bitmask/bitmask.go). A value type.
class NumaSet {
 public:
  static constexpr int kMaxNode = 63;

  constexpr NumaSet() = default;
  constexpr explicit NumaSet(uint64_t bits) : bits_(bits) {}
  constexpr NumaSet(std::initializer_list<int> nodes) {
    for (int node : nodes) Add(node);
  }

  constexpr uint64_t bits() const { return bits_; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr int size() const { return std::popcount(bits_); }
  constexpr bool Contains(int node) const { return ((bits_ >> node) & 1) != 0; }
  constexpr void Add(int node) { bits_ |= uint64_t{1} << node; }
  constexpr void Remove(int node) { bits_ &= ~(uint64_t{1} << node); }
  constexpr bool IsSubsetOf(NumaSet other) const { return (bits_ & ~other.bits_) == 0; }
  // The lowest node; 64 where the set is empty.
  constexpr int First() const { return std::countr_zero(bits_); }

  // Fewer nodes, or as many and lower numbers (bitmask.go: IsNarrowerThan).
  constexpr bool IsNarrowerThan(NumaSet other) const {
    return size() == other.size() ? bits_ < other.bits_ : size() < other.size();
  }

  friend constexpr NumaSet operator|(NumaSet a, NumaSet b) { return NumaSet(a.bits_ | b.bits_); }
  friend constexpr NumaSet operator&(NumaSet a, NumaSet b) { return NumaSet(a.bits_ & b.bits_); }
  friend constexpr NumaSet operator-(NumaSet a, NumaSet b) { return NumaSet(a.bits_ & ~b.bits_); }
  constexpr NumaSet& operator|=(NumaSet other) { return *this = *this | other; }
  constexpr NumaSet& operator&=(NumaSet other) { return *this = *this & other; }
  friend constexpr bool operator==(NumaSet, NumaSet) = default;

  // Ascending iteration: for (int node : set).
  class Iterator {
   public:
    constexpr explicit Iterator(uint64_t rest) : rest_(rest) {}
    constexpr int operator*() const { return std::countr_zero(rest_); }
    constexpr Iterator& operator++() {
      rest_ &= rest_ - 1;
      return *this;
    }
    friend constexpr bool operator==(Iterator, Iterator) = default;

   private:
    uint64_t rest_;
  };
  constexpr Iterator begin() const { return Iterator(bits_); }
  constexpr Iterator end() const { return Iterator(0); }

  // A Linux nodelist ("0-1,3"), as cpuset.mems takes it; "" for the empty set.
  std::string ToString() const;

 private:
  uint64_t bits_ = 0;
};

}  // namespace podfence
